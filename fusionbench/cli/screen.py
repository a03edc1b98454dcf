"""A suite's table on a terminal: a few lines a cohort that fit the width, with the verdict on each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.text import Text

from fusionbench.cli.external_screen import external_lines
from fusionbench.cli.fitted import GAP, fitted_lines
from fusionbench.core.commands import command
from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.report.findings.summary import CohortSummary
from fusionbench.report.model import FULL, SHORT_NAMES, RowKey, row_key, unique
from fusionbench.report.order import best_first
from fusionbench.report.ranking import TIED, primary_metrics
from fusionbench.results.frames import ROW
from fusionbench.suites.suite import BASE
from fusionbench.tools.stored_table import StoredTable

if TYPE_CHECKING:
    from fusionbench.session import Session

LINES = 40
"""Lines that a screen has at most, where rows are left out to make it so."""
NAME_WIDTH = 16
"""Width of a name at which other columns are left out before it is shortened further."""

Sort = Literal["best", "suite", "model"]


@dataclass(frozen=True)
class View:
    """What of a table is shown.

    Attributes:
        pattern: of missing modalities.
        every_metric: a column for each metric, in place of the interval of the first.
        every_row: not only the best rows of each set of modalities under the first variant.
        sort: `best` first within a set of modalities, in the `suite`'s order, or by `model`.
    """

    pattern: str = FULL
    every_metric: bool = False
    every_row: bool = False
    sort: Sort = "best"


def stdout_is_terminal() -> bool:
    """Whether standard output is a terminal, so that tables are made for its width."""
    return Console().is_terminal


def print_table_screen(session: Session, suite: str, view: View, before: Sequence[str] = ()) -> None:
    """Print the table that a suite's last run wrote, with where it lies and what to do next.

    Args:
        before: lines above the paths, such as how many cells failed.

    Raises:
        ResultsError: no table yet. SuiteError: the table has no such pattern.
    """
    stored, out = StoredTable.of(suite, session.out, session.registry), session.out
    rows, cohorts = stored.rows(), stored.cohorts()
    if view.pattern not in set(rows["pattern"]):
        raise SuiteError(did_you_mean("pattern", view.pattern, unique(rows["pattern"])))
    lines = [*before, f"table:  {stored.file('md')}"]
    if not cohorts:
        lines.append(f"no verdict: an older version wrote the table; write it anew: {command(out, 'run', suite)}")
    lines += [f"report: {command(out, 'report', suite)}", f"runs:   {command(out, 'ui', suite)}"]
    print_screen(Console(), stored.title(), rows, cohorts, stored.directions(), view, lines, stored.external())


def print_screen(
    console: Console,
    title: str,
    rows: pd.DataFrame,
    cohorts: Sequence[CohortSummary],
    directions: Mapping[str, bool | None],
    view: View,
    below: Sequence[str],
    external: pd.DataFrame | None = None,
) -> None:
    """Print title, cohorts with their tables and verdicts, and closing lines.

    Args:
        rows: TABLE_COLUMNS.
        cohorts: of the same suite; datasets without a summary are shown without facts and verdict.
        directions: metric to higher_is_better, in the suite's order.
        below: closing lines: paths, counts, the next command.
        external: EXTERNAL_COLUMNS; None where the suite has no external cohort.
    """
    screen = _Screen(rows, {cohort.dataset: cohort for cohort in cohorts}, directions, view, console.width, external)
    most = screen.largest_set()
    sizes = [most] if view.every_row else range(most, 0, -1)
    for size in sizes:
        group = Group(Text(title, "bold"), "", *screen.parts(size), *map(Text, below))
        if size == sizes[-1] or len(console.render_lines(group)) <= LINES:
            console.print(group)
            return


class _Screen:
    """Tables and verdicts of a suite in a given width."""

    def __init__(
        self,
        rows: pd.DataFrame,
        cohorts: Mapping[str, CohortSummary],
        directions: Mapping[str, bool | None],
        view: View,
        width: int,
        external: pd.DataFrame | None,
    ) -> None:
        self.cohorts, self.view, self.width, self.external = cohorts, view, width, external
        scored = rows[rows["mean"].notna()]
        found = primary_metrics(rows, directions)
        self.primary = {dataset: name or next(iter(directions)) for dataset, name in found.items()}
        by_dataset = {dataset: set(scored.loc[scored["dataset"] == dataset, "metric"]) for dataset in found}
        self.metrics = {dataset: [m for m in directions if m in of] for dataset, of in by_dataset.items()}
        shown = rows[(rows["pattern"] == view.pattern) & ((rows["n_cases"] > 0) | (rows["n_failed"] > 0))]
        self.rows = self._sorted(shown, directions)

    def _sorted(self, rows: pd.DataFrame, directions: Mapping[str, bool | None]) -> pd.DataFrame:
        if self.view.sort == "best":
            return best_first(rows, directions)
        return rows if self.view.sort == "suite" else rows.sort_values("model", kind="stable")

    def largest_set(self) -> int:
        """Rows of the largest set of modalities."""
        of_primary = self.rows[self.rows["metric"] == self.rows["dataset"].map(self.primary)]
        return int(of_primary.groupby(["dataset", "modalities"], sort=False).size().max()) if len(of_primary) else 1

    def parts(self, size: int) -> Iterator[RenderableType]:
        """Each dataset with at most `size` rows a set of modalities."""
        for dataset in unique(self.rows["dataset"]):
            rows = self.rows[self.rows["dataset"] == dataset]
            lines = rows[rows["metric"] == self.primary[dataset]]
            first = lines if self.view.every_row else lines[lines["variant"] == unique(lines["variant"])[0]]
            kept = first.groupby("modalities", sort=False).head(size)
            yield Text.assemble((dataset, "bold"), self._facts(dataset, lines), no_wrap=True, overflow="ellipsis")
            cohort = self.cohorts.get(dataset)
            if cohort is not None and cohort.verdicts:
                about = "" if self.view.pattern == FULL else "With every modality: "
                yield Text(about + cohort.verdicts[0].answer)
            yield self._table(dataset, rows, kept)
            if self.external is not None:
                of = self.external[self.external["dataset"] == dataset]
                of = of[(of["metric"] == self.primary[dataset]) & (of["pattern"] == self.view.pattern)]
                yield Group(*external_lines(of, kept, self.width))
            if len(kept) < len(lines):
                yield Text(f"and {len(lines) - len(kept)} more rows", "dim")
            yield ""
        if (self.rows["tie_group"] == TIED).any():
            yield Text(f"bold, {TIED}: the best row and those not significantly different from it", "dim")
        elif (self.rows["n_folds"] <= 1).all() and len(self.rows):
            yield Text("one fold: rows are not tested against each other", "dim")

    def _facts(self, dataset: str, lines: pd.DataFrame) -> str:
        facts = [] if self.view.pattern == FULL else [f"pattern {self.view.pattern}"]
        cohort = self.cohorts.get(dataset)
        if cohort is not None:
            facts += [f"{cohort.cases} cases, {cohort.outcomes}"]
        folds = int(lines["n_folds"].max())
        return "".join(f" · {fact}" for fact in [*facts, f"{folds} fold{'' if folds == 1 else 's'}"])

    def _table(self, dataset: str, rows: pd.DataFrame, kept: pd.DataFrame) -> Group:
        """The kept rows; columns that do not fit are left out: first cases, then the interval, then modalities."""
        values = {(row_key(line), metric): mean for (*line, metric), mean in _means(rows)}
        columns = self._columns(dataset, kept, values)
        names = [name for name in ("model", "modalities", "variant") if name in columns]
        numbers = [name for name in columns if name not in names]
        while len(numbers) > 1 and self._width(columns, names, numbers) > self.width:
            del columns[numbers.pop()]
        while len(names) > 1 and self._width(columns, names, numbers) > self.width:
            del columns[names.pop()]
        headers = [SHORT_NAMES.get(name, name) for name in columns]
        lines = list(zip(*columns.values(), strict=True))
        numeric = {i for i, name in enumerate(columns) if name in numbers}
        bold = ["bold" if mark == TIED else "" for mark in kept["tie_group"]]
        return Group(*fitted_lines(headers, lines, self.width, fixed=numeric, right=numeric, styles=bold))

    def _columns(
        self, dataset: str, kept: pd.DataFrame, values: Mapping[tuple[RowKey, str], float]
    ) -> dict[str, list[str]]:
        """Column to its cells, in the order of display; those at the end are the first to go."""
        records = kept.to_dict("records")
        columns = {name: [str(record[name]) for record in records] for name in ("model", "modalities")}
        if set(kept["variant"]) != {BASE}:
            columns["variant"] = [str(record["variant"]) for record in records]
        primary = self.primary[dataset]
        columns[primary] = [_mean(r["mean"]) + (f" {TIED}" if r["tie_group"] == TIED else "  ") for r in records]
        if self.view.every_metric:
            others = (metric for metric in self.metrics[dataset] if metric != primary)
            keys = [row_key(record[name] for name in ROW) for record in records]
            columns |= {metric: [_mean(values.get((key, metric), math.nan)) for key in keys] for metric in others}
        else:
            columns["95 % interval"] = [_interval(r["ci_low"], r["ci_high"]) for r in records]
        columns["cases"] = [str(record["n_cases"]) for record in records]
        return columns

    def _width(self, columns: Mapping[str, Sequence[str]], names: Sequence[str], numbers: Sequence[str]) -> int:
        """Columns of the terminal that are needed at least."""
        of_numbers = sum(_longest(name, columns[name]) for name in numbers)
        of_names = sum(min(NAME_WIDTH, _longest(name, columns[name])) for name in names)
        return of_numbers + of_names + GAP * (len(names) + len(numbers) - 1)


def _longest(name: str, cells: Sequence[str]) -> int:
    return max(map(len, [SHORT_NAMES.get(name, name), *cells]))


def _means(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], float]]:
    yield from zip(rows[[*ROW, "metric"]].itertuples(index=False, name=None), rows["mean"], strict=True)


def _mean(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _interval(low: float, high: float) -> str:
    return "-" if math.isnan(low) else f"{low:.3f} to {high:.3f}"
