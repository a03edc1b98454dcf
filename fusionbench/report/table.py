"""The comparison table of a suite, made from stored results alone; `report.render` writes it for people."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from fusionbench.report.incomplete import incomplete_means
from fusionbench.report.model import (
    FULL,
    RANKINGS,
    TABLE_COLUMNS,
    CheckedFrames,
    ComparisonTable,
    FoldKey,
    FoldPlan,
    MeanKey,
    ProtocolSummary,
    RowKey,
    row_keys,
    unique,
)
from fusionbench.report.paired import FoldValues, fold_mean, pair_frame
from fusionbench.report.ranking import TIED, BlockDraws, Ranking, rank
from fusionbench.results.frames import ROW
from fusionbench.survival.stats import average_repeats, percentile_interval, standard_deviation


def comparison_table(stored: CheckedFrames, values: FoldValues, variants: BlockDraws, draws: int) -> ComparisonTable:
    """Means, spreads, intervals and tie groups of every row, pattern and metric; see `report.analysis.analyse`."""
    incomplete = incomplete_means(stored, values)
    ranking = rank(stored, values, variants, incomplete)
    bad = stored.cells["status"].isin(["failed", "skipped"])
    blocks = {(dataset, number): sample for (dataset, _), (number, sample) in variants.items()}
    datasets = unique(stored.cells["dataset"])
    with_reason, reasons = stored.folds[stored.folds["reason"] != ""], [*ROW, "pattern", "metric", "reason"]
    return ComparisonTable(
        rows=pd.DataFrame(list(_lines(stored, values, variants, ranking)), columns=list(TABLE_COLUMNS)),
        directions=stored.directions,
        tests=pair_frame(ranking.comparisons),
        best=frozenset(ranking.best),
        incomplete=incomplete,
        protocols=tuple(_protocols(stored)),
        unsuccessful=_counted(stored.cells[bad], [*ROW, "status", "reason"], "n_cells"),
        undefined=_counted(with_reason[with_reason["value"].isna()], reasons, "n_folds"),
        partly_undefined=_counted(with_reason[with_reason["value"].notna()], reasons, "n_folds"),
        progress={dataset: _progress(stored.cells, dataset) for dataset in datasets},
        redrawn={name: sum(s.redrawn for (d, _), s in blocks.items() if d == name) for name in datasets},
        no_interval={name: sample.reason for (name, _), sample in blocks.items() if sample.reason},
        draws=draws,
        prevalence={name: shares for name in datasets if (shares := stored.prevalence(name))},
    )


def _progress(cells: pd.DataFrame, dataset: str) -> tuple[int, int]:
    status = cells.loc[cells["dataset"] == dataset, "status"]
    return int((status != "missing").sum()), len(status)


def _counted(frame: pd.DataFrame, keys: list[str], name: str) -> pd.DataFrame:
    return frame.groupby(keys, sort=False, dropna=False, observed=True).size().rename(name).reset_index()


def _protocols(stored: CheckedFrames) -> Iterator[ProtocolSummary]:
    for (dataset, variant), cells in stored.cells.groupby(["dataset", "variant"], sort=False, observed=True):
        plan = stored.plans[str(dataset), str(variant)]
        yield ProtocolSummary(
            dataset=str(dataset),
            variant=str(variant),
            protocol=_joined(cells["protocol"]),
            unit=_joined(cells["unit"]),
            repeats=len({repeat for repeat, _ in plan.test_to_train}),
            folds=len({fold for _, fold in plan.test_to_train}),
            fold_source=plan.source,
            sd_ddof=plan.sd_ddof,
        )


def _joined(values: Iterable[Any]) -> str:
    """The different values as text; empty and missing ones are left out."""
    return ", ".join(dict.fromkeys(str(value) for value in values if value and value == value))


def _lines(
    stored: CheckedFrames, values: Mapping[MeanKey, Mapping[FoldKey, float]], variants: BlockDraws, ranking: Ranking
) -> Iterator[dict[str, Any]]:
    """table.csv line by line."""
    metrics = {name: i for i, name in enumerate(stored.directions)}
    patterns = {name: i for i, name in enumerate(unique(stored.folds["pattern"]))} | {FULL: -1}
    scored: dict[RowKey, list[MeanKey]] = {}
    for place in sorted(values, key=lambda p: (patterns[p[1]], metrics[p[2]])):
        scored.setdefault(place[0], []).append(place)
    counts = _case_counts(stored.folds)
    for row, cells in _cells_of_rows(stored.cells).items():
        if all(cell["status"] == "missing" for cell in cells):
            continue
        about, plan = _about(row, cells), stored.plans[row[0], row[3]]
        for place in scored.get(row, [(row, FULL, metric) for metric in metrics]):
            n_cases, n_prior = counts.get(place, (0, 0))
            yield {
                **about,
                **_numbers(values.get(place, {}), plan),
                **_interval(variants, place),
                "pattern": place[1],
                "metric": place[2],
                "n_cases": n_cases,
                "policy": about["policy"] + (f", {n_prior} prior" if n_prior else ""),
                "tie_group": TIED if place in ranking.tied else "",
            }


def _cells_of_rows(cells: pd.DataFrame) -> dict[RowKey, list[dict[Hashable, Any]]]:
    rows: dict[RowKey, list[dict[Hashable, Any]]] = {}
    for row, cell in zip(row_keys(cells), cells.to_dict("records"), strict=True):
        rows.setdefault(row, []).append(cell)
    return rows


def _about(row: RowKey, cells: Sequence[Mapping[Hashable, Any]]) -> dict[str, Any]:
    """What holds for all patterns and metrics of a row."""
    return {
        **dict(zip(ROW, row, strict=True)),
        **{name: _joined(cell[name] for cell in cells) for name in ("protocol", "train_pattern", "unit", "tuned")},
        "policy": _joined(cell["policy"] for cell in cells if cell["status"] != "skipped"),
        "n_failed": sum(cell["status"] == "failed" for cell in cells),
        "n_skipped": sum(cell["status"] == "skipped" for cell in cells),
    }


def _numbers(of: Mapping[FoldKey, float], plan: FoldPlan) -> dict[str, Any]:
    """Mean over folds, then over repeats; sd over all fold values, published folds averaged over repeats first."""
    numbers = list(of.values())
    spread = average_repeats(numbers, [fold for _, fold in of]) if plan.published else numbers
    return {
        "mean": fold_mean(of),
        "sd": standard_deviation(spread, plan.sd_ddof),
        "n_folds": len(numbers),
        "n_repeats": len({repeat for repeat, _ in of}),
    }


def _interval(variants: BlockDraws, place: MeanKey) -> dict[str, float]:
    row, pattern, metric = place
    draws = variants[row[0], row[3]][1].draws.get((row, pattern)) if metric in RANKINGS else None
    low, high = (math.nan, math.nan) if draws is None else percentile_interval(draws)
    return {"ci_low": low, "ci_high": high}


def _case_counts(folds: pd.DataFrame) -> dict[MeanKey, tuple[int, int]]:
    """(cases of the fullest repeat, those of them that had no visible modality)."""
    keys = [*ROW, "pattern", "metric"]
    sums = folds.groupby([*keys, "repeat"], sort=False, observed=True)[["n_cases", "n_prior"]].sum()
    most = sums.groupby(level=keys, sort=False, observed=True).max().reset_index()
    places = zip(row_keys(most), most["pattern"].astype(str), most["metric"].astype(str), strict=True)
    return dict(zip(places, zip(most["n_cases"].astype(int), most["n_prior"].astype(int), strict=True), strict=True))
