"""Whether a published table shows the means of the published scores: table.md and table.csv against folds.csv."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import nan
from pathlib import Path

import pandas as pd

from fusionbench.core.cell_result import AFTER
from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.core.plural import plural
from fusionbench.results.audit_verdict import Finding, Line, verdict
from fusionbench.results.frames import ROW, Frames
from fusionbench.suites.cell import external_name
from fusionbench.survival.stats import mean_over_folds

Place = tuple[str, ...]
"""Dataset, model, modalities, variant, pattern, metric."""
KEYS = [*ROW, "pattern", "metric"]
SAME = 1e-9
_PATTERN = KEYS.index("pattern")
HALF_A_DIGIT = 5.1e-4
"""table.md shows three decimals."""
_NUMBER = re.compile(r"^\**(-?\d+\.\d{3})\b")


def tables_agree(frames: Frames, folder: Path) -> Line:
    """The means of the published scores, and no others, stand in table.md and in table.csv.

    Raises:
        ResultsError: a table cannot be read.
    """
    means = _means(frames.folds)
    shown = {"table.md": (_in_markdown(folder, frames), HALF_A_DIGIT), "table.csv": (_in_csv(folder), SAME)}
    findings = [
        Finding(f"{name}: {' · '.join(place)} is {value:.4f}, the scores give {means[place]:.4f}", unit=str(place))
        for name, (values, tolerance) in shown.items()
        for place, value in values.items()
        if place in means and not abs(value - means[place]) <= tolerance
    ]
    findings += [
        Finding(f"{name} has no {' · '.join(place)}", unit=str(place))
        for name, (values, _) in shown.items()
        for place in means
        # What is predicted after steps stands in a section of table.md below the cohorts' grids, as other findings do.
        if place not in values and not (name == "table.md" and place[_PATTERN].startswith(AFTER))
    ]
    findings += [
        Finding(f"{name}: {' · '.join(place)} has no scores")
        for name, (values, _) in shown.items()
        for place in values
        if place not in means
    ]
    outside = {} if frames.external is None else _means(frames.external.folds)
    shown_outside = _in_external(folder) if outside else {}
    findings += [
        Finding(
            f"table.external.csv: {' · '.join(place)} is {value:.4f}, the scores give {outside.get(place, nan):.4f}"
        )
        for place, value in shown_outside.items()
        if not abs(value - outside.get(place, nan)) <= SAME
    ]
    findings += [Finding(f"table.external.csv has no {' · '.join(p)}") for p in outside if p not in shown_outside]
    counted = plural(len(means) + len(outside), "mean")
    return verdict("published tables show the means of the published scores", findings, counted)


def _means(folds: pd.DataFrame) -> dict[Place, float]:
    defined = folds[folds["value"].astype(float).notna()]
    scores: dict[Place, list[tuple[float, int]]] = {}
    for *place, value, repeat in defined[[*KEYS, "value", "repeat"]].itertuples(index=False, name=None):
        scores.setdefault(tuple(map(str, place)), []).append((float(value), int(repeat)))
    return {place: mean_over_folds(*zip(*of, strict=True)) for place, of in scores.items()}


def _in_csv(folder: Path) -> Mapping[Place, float]:
    path = folder / "table.csv"
    if not path.exists():
        return {}
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str)
        table = table[table["mean"] != ""]
        return dict(zip(table[KEYS].itertuples(index=False, name=None), table["mean"].astype(float), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(file_problem(path, error, "publish the run again")) from error


def _in_external(folder: Path) -> Mapping[Place, float]:
    path = folder / "table.external.csv"
    if not path.exists():
        return {}
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str)
        table = table[table["mean"] != ""]
        names = map(external_name, table["dataset"], table["external"])
        keys = table.assign(dataset=list(names))[KEYS].itertuples(index=False, name=None)
        return dict(zip(keys, table["mean"].astype(float), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise ResultsError(file_problem(path, error, "publish the run again")) from error


def _in_markdown(folder: Path, frames: Frames) -> dict[Place, float]:
    """The means that stand in the grids of the cohorts."""
    path = folder / "table.md"
    if not path.exists():
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ResultsError(file_problem(path, error, "publish the run again")) from error
    variants = {str(name): str(of["variant"].iloc[0]) for name, of in frames.cells.groupby("dataset", observed=True)}
    metrics = set(frames.folds["metric"].astype(str))
    found: dict[Place, float] = {}
    dataset, pattern, header = "", "full", list[str]()
    for line in lines:
        if line.startswith("## "):
            dataset, pattern = _plain(line[3:]), "full"
        elif line.startswith("### "):
            pattern = _plain(line[4:]).removeprefix("pattern ")
        elif not line.startswith("|"):
            header = []
        elif not header:
            header = _cells(line)
        elif dataset in variants and not line.startswith("|-"):
            about = {"variant": variants[dataset], **dict(zip(header, _cells(line), strict=True))}
            place = (dataset, *(about.get(name, "") for name in ROW[1:]), pattern)
            for metric in metrics & about.keys():
                if number := _NUMBER.match(about[metric]):
                    found[*place, metric] = float(number[1])
    return found


def _cells(line: str) -> list[str]:
    """The entries of a line of a grid; a `|` within a name is escaped."""
    return [_plain(part.strip()) for part in re.split(r"(?<!\\)\|", line)[1:-1]]


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
