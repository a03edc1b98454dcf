"""index.html: the suites of a results root, each with its best rows and the link to its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from fusionbench.report.document import Entry, entries
from fusionbench.report.html.page import CONTENTS, escaped, heading, page, paragraph, table
from fusionbench.report.model import FULL, HARRELL, RANKINGS, is_oracle
from fusionbench.report.words import WORDS, score_names
from fusionbench.suites.lock import read_lock
from fusionbench.suites.suite import BASE

TITLE = "Results"


def front_page(root: Path, names: Sequence[str], without: Mapping[str, str]) -> str:
    """The HTML of index.html.

    Args:
        names: suites with a lock under `root`.
        without: suite to why it has no report.
    """
    tables = {name: _table(root / name) for name in names if name not in without}
    found = {metric for rows in tables.values() for metric in _rankings(rows)}
    scores = " or ".join(WORDS[metric].score for metric in RANKINGS if metric in found) or WORDS[HARRELL].score
    parts = [f"<h1>{TITLE}</h1>", paragraph(f"{len(names)} suites; best rows by mean {scores}."), CONTENTS]
    suites = (_suite(root / name, tables.get(name), without.get(name, "")) for name in names)
    return page(TITLE, [*parts, *(line for suite in suites for line in suite)])


def _table(folder: Path) -> pd.DataFrame | None:
    """The rows of a suite's table, or of its partial one; None where neither is written."""
    path = next((p for name in ("table.csv", "table.partial.csv") if (p := folder / name).is_file()), None)
    return None if path is None else pd.read_csv(path, keep_default_na=False)


def _rankings(rows: pd.DataFrame | None) -> list[str]:
    """The metrics by which the cohorts of a table are ranked."""
    return [] if rows is None else [metric for metric in RANKINGS if metric in set(rows["metric"])]


def _suite(folder: Path, rows: pd.DataFrame | None, reason: str) -> Iterator[str]:
    yield heading(2, folder.name)
    if reason:
        yield paragraph(f"No report: {reason}.")
        return
    yield paragraph(str(read_lock(folder)["suite"]["title"]))
    yield f'<p><a href="{quote(folder.name)}/report.html">The report of {escaped(folder.name)}</a></p>'
    if rows is not None:
        header = ("cohort", "best row", "modalities", score_names(_rankings(rows) or [HARRELL]), "rows", "cases")
        yield table(f"best rows of {folder.name}", header, list(_best(rows)))


def _best(rows: pd.DataFrame) -> Iterator[tuple[Entry, ...]]:
    rows = rows.assign(mean=pd.to_numeric(rows["mean"], errors="coerce"))
    chosen = rows[rows["metric"].isin(RANKINGS) & (rows["pattern"] == FULL) & rows["mean"].notna()]
    chosen = chosen[~chosen["model"].map(is_oracle)]
    for dataset, part in chosen.groupby("dataset", sort=False):
        best: dict[Any, Any] = part.nlargest(1, "mean").to_dict("records")[0]
        variant = "" if best["variant"] == BASE else f" ({best['variant']})"
        interval = f" [{float(best['ci_low']):.3f}, {float(best['ci_high']):.3f}]" if best["ci_low"] != "" else ""
        c = f"{best['mean']:.3f}{interval}"
        yield entries(dataset, f"{best['model']}{variant}", best["modalities"], c, len(part), best["n_cases"])
