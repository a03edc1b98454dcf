"""What published frames still prove without the cells and the data they came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusionbench.core.errors import ResultsError
from fusionbench.results.audit_verdict import Audit, Finding, Line, verdict
from fusionbench.results.frames import PLACE, Frames, read_frames

FOLD = ["dataset", "variant", "repeat", "fold"]


def published_audit(folder: Path) -> Audit:
    """The audit that was written when the run was published, with those rules taken again that its frames can show.

    Raises:
        ResultsError: no audit or no frames are there.
    """
    path = folder / "audit.json"
    try:
        stored = Audit.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path}: no readable audit ({error}); run the suite, or publish it again") from None
    frames = read_frames(folder)
    declared = {line.rule for line in stored.lines if line.verdict == "DECLARED"}
    return Audit(stored.suite, (*stored.lines, *_again(frames, declared)))


def _again(frames: Frames, declared: set[str]) -> Iterator[Line]:
    groups = "groups stand on one side of a split"
    counted = f"{len(frames.splits[FOLD].drop_duplicates())} folds"
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
