"""A suite's tables and report, written from its cells or from its stored frames; further scores; imported models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, SuiteError, did_you_mean
from fusionbench.core.guard import guarded
from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.document import Section
from fusionbench.report.external_table import as_table_rows, external_frame
from fusionbench.report.findings import findings
from fusionbench.report.findings.external import external_sections
from fusionbench.report.findings.summary import SUMMARY, summaries, summary_json
from fusionbench.report.imported import (
    cell_rows,
    external_view,
    read_predictions,
    split_external,
    store_predictions,
    stored_predictions,
)
from fusionbench.report.model import IMPORTED
from fusionbench.report.render import render
from fusionbench.report.rescore import rescore, rescore_external
from fusionbench.report.stored_beside import rests_on
from fusionbench.results.frames import Frames, collect, read_frames, write_frames
from fusionbench.results.made_from import TABLE, is_current, note_made_from, stored_contents
from fusionbench.suites import published_numbers
from fusionbench.suites.lock import identities_of, make_lock, notes_of, read_lock, run_command

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusionbench.core.registry import Registry
    from fusionbench.data.cohort import Cohort
    from fusionbench.execution.shared import SharedResources
    from fusionbench.results.audit_verdict import Audit
    from fusionbench.results.store import Store
    from fusionbench.suites.cell import Plan
    from fusionbench.suites.provenance import Record
    from fusionbench.suites.suite import Suite

EXTERNAL = "external.csv"
"""Ending of the file of a table's rows on external cohorts, where there are any."""
TableKind = Literal["table", "table.partial"]
"""The table of a whole suite, or of those of its cells that are finished or were selected."""
SUFFIXES: Mapping[str, Literal["md", "csv", "latex", "html"]] = {
    "md": "md",
    "csv": "csv",
    "tex": "latex",
    "html": "html",
}
"""File endings of a written table and the format each holds."""


def planned_cohorts(plan: Plan, resources: SharedResources) -> dict[tuple[str, str], Cohort]:
    """The plan's cohorts by dataset as written and unit (patient or slide)."""
    return {(str(dataset), unit): resources.cohort(dataset, unit) for dataset, unit in plan.cohorts}


def external_cohorts(plan: Plan, resources: SharedResources) -> dict[tuple[str, str], Cohort]:
    """The cohorts that fitted models predict, by `TRAIN -> TEST` and unit."""
    cells = {(cell.row[0], cell.unit): cell for cell in plan.external}
    return {place: resources.new_patients(cell.external, cell.unit) for place, cell in cells.items() if cell.external}


def lock_of(plan: Plan, resources: SharedResources, records: Sequence[Record]) -> dict[str, Any]:
    """The content of suite.lock.toml.

    Args:
        records: what the plan's cells recorded of themselves, which says what computed them; see `finished_records`.
    """
    units = published_numbers.units(plan.suite)
    counted = {(str(d), unit): resources.cohort(d, unit) for d, _ in plan.cohorts for unit in units}
    warnings = {(str(d), unit): resources.warnings(d, unit) for d, unit in plan.cohorts}
    for cell in plan.external:
        if cell.external is not None:
            warnings[cell.row[0], cell.unit] = resources.between(cell.dataset, cell.external, cell.unit)
    cohorts, external = planned_cohorts(plan, resources), external_cohorts(plan, resources)
    return make_lock(plan, resources.registry, cohorts, counted, warnings, records, external)


def finished_records(plan: Plan, store: Store) -> list[Record]:
    """What the finished cells of a plan recorded of themselves; of cells that failed nothing.

    Raises:
        ResultsError: a cell cannot be read.
    """
    stored = (store.record(cell.key) for cell in plan.todo() if store.has(cell.key))
    return [record["record"] for record in stored if record["status"] == "ok"]


def metric_versions(registry: Registry) -> dict[str, str]:
    """Metric to its version: scores of another version are not those of a finished cell."""
    return {name: registry.metric(name).version for name in registry.names("metrics")}


def frames_of(plan: Plan, store: Store, resources: SharedResources) -> Frames:
    """The finished cells of a plan as tidy frames."""
    cohorts, external = planned_cohorts(plan, resources), external_cohorts(plan, resources)
    return collect(plan, store, cohorts, external, metric_versions(resources.registry))


def _directions(registry: Registry, metrics: Iterable[str]) -> dict[str, bool | None]:
    """Metric to whether higher is better."""
    return {name: registry.metric(name).higher_is_better for name in metrics}


def write_tables(
    frames: Frames, store: Store, lock: Mapping[str, Any], registry: Registry, kind: TableKind
) -> Path | None:
    """Write the table in every format, with imported models among its rows, and of a whole suite its frames.

    Returns:
        the Markdown file; None where nothing has a score.
    """
    contents = stored_contents(store)
    frames = with_imported(frames, store, lock, registry)
    if frames.folds.empty:
        return None
    analysis = _analysed(frames, lock, registry)
    below = _below(analysis, store, lock, registry)
    cohorts, notes = list(summaries(analysis, lock)), notes_of(lock)
    store.write_text(f"{kind}.{SUMMARY}", summary_json(cohorts))
    if analysis.external:
        external = external_frame(analysis.external)
        store.write_text(f"{kind}.{EXTERNAL}", external.to_csv(index=False, lineterminator="\n"))
    else:
        store.remove(f"{kind}.{EXTERNAL}")
    for suffix, fmt in SUFFIXES.items():
        shown = render(
            *(analysis.table, fmt),
            title=lock["suite"]["title"],
            notes=notes,
            findings=below,
            verdicts={cohort.dataset: cohort.texts for cohort in cohorts},
        )
        store.write_text(f"{kind}.{suffix}", shown)
    if kind == "table":
        write_frames(frames, store)
        note_made_from(store, TABLE, contents)
    return store.folder / f"{kind}.md"


def table_rows(store: Store) -> pd.DataFrame:
    """Rows of table.csv, followed by those rows of table.partial.csv that it lacks, and those on external cohorts.

    At least one of the two files must exist.
    """
    kinds = [kind for kind in ("table", "table.partial") if store.has_file(f"{kind}.csv")]
    first, *more = (pd.read_csv(store.folder / f"{kind}.csv") for kind in kinds)
    place = ["dataset", "model", "modalities", "variant"]
    known = set(first[place].itertuples(index=False, name=None))
    new = [of[[row not in known for row in of[place].itertuples(index=False, name=None)]] for of in more]
    outside = [as_table_rows(pd.read_csv(path)) for path in (store.folder / f"{kinds[0]}.{EXTERNAL}",) if path.exists()]
    return pd.concat([first, *(of for of in (*new, *outside) if len(of))], ignore_index=True)


def write_report(
    frames: Frames,
    store: Store,
    lock: Mapping[str, Any],
    registry: Registry,
    audit: Audit | str,
    suite: Suite,
    to: Store | None = None,
) -> Path:
    """report.html and figures/ in the suite's folder.

    Args:
        to: where they are written instead.
        frames: with their imported models, as `write_tables` stored them.
        audit: or why there is none.
        suite: as its file has it.

    Raises:
        ResultsError: nothing has a score.
    """
    from fusionbench.report.figures import make_figures
    from fusionbench.report.figures.export import write_figures
    from fusionbench.report.html.suite_report import Origin, report

    if frames.folds.empty:
        go_on = command(store.root, "run", store.suite)
        raise ResultsError(f"{store.folder} holds no finished cell with a score; go on with: {go_on}")
    analysis = _analysed(frames, lock, registry)
    images = list(write_figures(make_figures(analysis, lock), to or store))
    origin = Origin.read(store.folder, run_command(lock, suite, store.root))
    below = _below(analysis, store, lock, registry)
    return (to or store).write_text("report.html", report(analysis, lock, images, audit, origin, below))


def draw(frames: Frames, lock: Mapping[str, Any], registry: Registry, kind: str, number: int = 1) -> Figure:
    """One of the report's figures.

    Args:
        frames: with their imported models, as `write_tables` stored them.
        kind: name of its maker: forest, uplift, pooled, external, missing, survival, calibration, classes, training or
            cost.
        number: which of several of the kind, from 1.

    Raises:
        SuiteError: there is no such kind. ResultsError: these results have no such figure, and why.
    """
    from fusionbench.report.figures import MAKERS
    from fusionbench.report.figures.figure import Omitted, ReportFigure
    from fusionbench.report.figures.style import report_style

    makers = {make.__name__: make for make in MAKERS}
    if kind not in makers:
        raise SuiteError(did_you_mean("figure", kind, makers))
    with report_style():
        made = list(makers[kind](_analysed(frames, lock, registry), lock))
    drawn = [one.figure for one in made if isinstance(one, ReportFigure)]
    if not 1 <= number <= len(drawn):
        reasons = [one.reason for one in made if isinstance(one, Omitted)]
        reasons += [] if made else ["it is about another kind of endpoint than those of this suite"]
        raise ResultsError(f"no figure {kind} {number} of {len(drawn)}{''.join(f'; {why}' for why in reasons)}")
    return drawn[number - 1]


def _below(analysis: Analysis, store: Store, lock: Mapping[str, Any], registry: Registry) -> list[Section]:
    """The sections below a table: what it rests on, then findings."""
    return [*rests_on(analysis.frames.cells, store, lock), *findings(analysis, lock, registry)]


def _analysed(frames: Frames, lock: Mapping[str, Any], registry: Registry) -> Analysis:
    directions = _directions(registry, lock["suite"]["metrics"])
    return analyse(frames, directions=directions, seed=lock["suite"]["seed"], identities=identities_of(lock))


def with_imported(frames: Frames, store: Store, lock: Mapping[str, Any], registry: Registry) -> Frames:
    """The frames with every imported model as rows of their own."""
    metrics = {name: registry.metric(name)() for name in lock["suite"]["metrics"]}
    for table in stored_predictions(store):
        inside, outside = split_external(table, frames)
        if len(inside):
            with guarded(f"scoring with {', '.join(metrics)}", registry.note):
                scores = rescore(replace(frames, predictions=inside), lock, metrics)
            frames = _joined(frames, cell_rows(inside, frames), scores, inside)
        if len(outside) and frames.external is not None:
            with guarded(f"scoring with {', '.join(metrics)}", registry.note):
                only = replace(frames, external=replace(frames.external, predictions=outside))
                scores = rescore_external(only, lock, metrics)
            cells = cell_rows(outside, external_view(frames))
            # Somebody else's model may be a single one: no fold model is lacking.
            cells = cells[cells["status"] == "ok"]
            frames = replace(frames, external=_joined(frames.external, cells, scores, outside))
    return frames


def _joined(frames: Frames, cells: pd.DataFrame, folds: pd.DataFrame, predictions: pd.DataFrame) -> Frames:
    return replace(
        frames,
        cells=pd.concat([frames.cells, cells], ignore_index=True),
        folds=pd.concat([frames.folds, folds], ignore_index=True),
        predictions=pd.concat([frames.predictions, predictions], ignore_index=True),
    )


def without_imported(frames: Frames) -> Frames:
    """The frames without imported models."""
    external = None if frames.external is None else without_imported(frames.external)
    own = set(frames.cells.loc[frames.cells["policy"] != IMPORTED, "model"])
    parts = {
        name: of[of["model"].isin(own)] for name in ("cells", "folds", "predictions") for of in [getattr(frames, name)]
    }
    return replace(frames, **parts, external=external)


def import_predictions(store: Store, path: Path, registry: Registry) -> tuple[Path | None, tuple[str, ...]]:
    """Check a predictions file, store it, and write the table with its rows.

    Returns:
        the table's Markdown file, and the names of the models.

    Raises:
        DataError: what is wrong with the file. ResultsError: the table is not of the cells that are stored now.
    """
    if is_current(store, TABLE) is False:
        again = command(store.root, "run", store.suite)
        raise ResultsError(f"{store.folder}: the table was made before the cells changed; make it anew with: {again}")
    frames, lock = without_imported(read_frames(store.folder)), read_lock(store.folder)
    table = read_predictions(path, frames)
    for _, of_model in table.groupby("model", sort=False):
        store_predictions(of_model, store)
    names = tuple(dict.fromkeys(table["model"].astype(str)))
    return write_tables(frames, store, lock, registry, "table"), names


def score(store: Store, name: str, registry: Registry, to: Store | None = None) -> pd.DataFrame:
    """A metric from the stored predictions: FOLD_COLUMNS, also written as scores/<metric>.csv.

    Predictions of external cohorts are scored, too; the dataset of their lines is `TRAIN -> TEST`.

    Args:
        to: where it is written; default the suite's folder.

    Raises:
        SuiteError: unknown metric, or one of other endpoints than the suite has. ResultsError: no complete results.
    """
    tasks = registry.metric(name).tasks
    with guarded(f"scoring with {name}", registry.note):
        frames, lock, metrics = read_frames(store.folder), read_lock(store.folder), {name: registry.metric(name)()}
        folds = rescore(frames, lock, metrics)
        if frames.external is not None:
            folds = pd.concat([folds, rescore_external(frames, lock, metrics)], ignore_index=True)
    if folds.empty:
        raise SuiteError(
            f"metric {name!r} scores {' and '.join(tasks)} endpoints, and no dataset of {store.suite} has one: choose "
            "another of `fusionbench ls metrics`"
        )
    (to or store).write_text(f"scores/{name}.csv", folds.to_csv(index=False))
    return folds


def scored_table(store: Store, name: str, folds: pd.DataFrame, registry: Registry) -> str:
    """`folds` of one metric as a Markdown table with means, spreads and tie groups, external cohorts below it."""
    stored, lock = read_frames(store.folder), read_lock(store.folder)
    outside = folds["dataset"].isin(set(stored.external.cells["dataset"]) if stored.external else ())
    external = stored.external and replace(stored.external, folds=folds[outside])
    frames = replace(stored, folds=folds[~outside], external=external)
    directions = _directions(registry, [name])
    analysis = analyse(frames, directions=directions, seed=lock["suite"]["seed"], identities=identities_of(lock))
    return render(analysis.table, "md", title=lock["suite"]["title"], findings=list(external_sections(analysis, lock)))
