"""What published frames still prove without the cells and the data they came from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.core.guard import guarded
from fusionbench.core.plural import plural
from fusionbench.report.rescore import rescore, rescore_external
from fusionbench.results.audit_verdict import Audit, Finding, Line, verdict
from fusionbench.results.frames import PLACE, Frames, read_frames
from fusionbench.results.manifest import manifest_agrees
from fusionbench.suites.lock import read_lock
from fusionbench.tools.audit.published_tables import tables_agree

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry

FOLD = ["dataset", "variant", "repeat", "fold"]
ROUNDED = 2e-3
"""How far a score of published curves, which are rounded to three decimals, may lie from the published score."""


def published_audit(folder: Path, registry: Registry) -> Audit:
    """The audit that was written when the run was published, with those rules taken again that its frames can show.

    Args:
        registry: of the metrics, by which the published predictions are scored again.

    Raises:
        ResultsError: no audit or no frames are there.
    """
    path = folder / "audit.json"
    try:
        stored = Audit.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(file_problem(path, error, "run the suite, or publish it again")) from None
    frames = read_frames(folder)
    declared = {line.rule for line in stored.lines if line.verdict == "DECLARED"}
    scores = _rescored(frames, read_lock(folder), registry)
    again = (*_again(frames, declared), scores, tables_agree(frames, folder), manifest_agrees(folder))
    return Audit(stored.suite, (*stored.lines, *again))


def _rescored(frames: Frames, lock: Mapping[str, Any], registry: Registry) -> Line:
    """Published scores follow from the published predictions, whose curves are rounded and kept for one repeat only."""
    rule, key = "published scores follow from the published predictions", [*PLACE, "pattern", "metric"]
    metrics = {name: registry.metric(name)() for name in lock["suite"]["metrics"] if name in registry.names("metrics")}
    own = frames.folds[frames.folds["model"].isin(set(frames.predictions["model"]))]
    try:
        with guarded(f"scoring with {', '.join(metrics)}", registry.note):
            again = [rescore(frames, lock, metrics)]
            if frames.external is not None:
                own = pd.concat([own, frames.external.folds], ignore_index=True)
                again.append(rescore_external(frames, lock, metrics))
            now: dict[Any, float] = pd.concat(again).set_index(key)["value"].to_dict()
    except ResultsError as error:
        return verdict(rule, [Finding(str(error))], plural(len(own), "score"))
    findings, left_out = [], 0
    for place, value in own.set_index(key)["value"].astype(float).items():
        found = now.get(place, math.nan)
        if math.isnan(found):  # undefined, or of curves that were not published
            left_out += not math.isnan(value)
        elif not abs(found - value) <= ROUNDED:
            label = " · ".join(map(str, cast("tuple[object, ...]", place)))
            findings.append(Finding(f"{label} is {value:.4f}, the predictions give {found:.4f}"))
    counted = plural(len(own), "score") + (
        f", {left_out} of which need curves that are not published" if left_out else ""
    )
    return verdict(rule, findings, counted)


def _again(frames: Frames, declared: set[str]) -> Iterator[Line]:
    groups = "groups stand on one side of a split"
    counted = plural(len(frames.splits[FOLD].drop_duplicates()), "fold")
    shares = _astride(frames)
    of_place: dict[str, list[float]] = {}
    for (place, _), share in shares.items():
        of_place.setdefault(place, []).append(share)
    found = [
        Finding(f"{place}, fold {fold}: {_sharing(share)}", place if groups in declared else "")
        for (place, fold), share in shares.items()
        if share
    ]
    means = {place: _sharing(float(np.mean(of))) for place, of in of_place.items()}
    yield verdict(f"{groups}, from splits and targets", found, counted, means)
    odd = (Finding(f"{place}: other cases than the fold's test cases, or one twice") for place in _uncovered(frames))
    yield verdict("exactly the test cases were predicted, from splits and predictions", odd, counted)


def _sharing(share: float) -> str:
    return f"{share:.1%} of test rows share a patient with train or validation"


def _astride(frames: Frames) -> dict[tuple[str, str], float]:
    """(dataset and variant, repeat and fold): share of test rows whose patient or site stands in another part, too."""
    named = frames.splits.merge(frames.targets[["dataset", "case", "group"]], on=["dataset", "case"], how="left")
    shares = {}
    for (dataset, variant, repeat, fold), rows in named.groupby(FOLD, sort=False, observed=True):
        rest = set(rows.loc[rows["part"] != "test", "group"])
        shared = rows.loc[rows["part"] == "test", "group"].isin(rest)
        shares[f"{dataset} ({variant})", f"{repeat} {fold}"] = float(shared.mean())
    return shares


def _uncovered(frames: Frames) -> Iterator[str]:
    """Rows and folds where other cases were predicted than the fold's test cases, or one of them twice."""
    test = frames.splits[frames.splits["part"] == "test"]
    wanted = {key: frozenset(cases) for key, cases in test.groupby(FOLD, observed=True)["case"]}
    full = frames.predictions[frames.predictions["pattern"] == "full"]
    for key, cases in full.groupby(PLACE, sort=False, observed=True)["case"]:
        place = dict(zip(PLACE, key, strict=True))
        if frozenset(cases) != wanted.get(tuple(place[name] for name in FOLD)) or cases.duplicated().any():
            yield " ".join(map(str, key))


def is_published(folder: Path) -> bool:
    """A folder of results without the cells that made them."""
    return not (folder / "cells").is_dir() and (folder / "audit.json").is_file()
