"""What published frames still prove without the cells and the data they came from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fusionbench.audit.verdict import Audit, Finding, Line, verdict
from fusionbench.errors import ResultsError
from fusionbench.report.frames import PLACE, Frames, read_frames

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
    yield _line(f"{groups}, from splits and targets", _astride(frames), groups in declared, frames)
    yield _line("exactly the test cases were predicted, from splits and predictions", _uncovered(frames), False, frames)


def _line(rule: str, found: Iterator[tuple[str, str]], declared: bool, frames: Frames) -> Line:
    findings = [Finding(f"{place}: {what}", place if declared else "") for place, what in found]
    n_folds = len(frames.splits[FOLD].drop_duplicates())
    return verdict(rule, findings, f"{n_folds} folds")


def _astride(frames: Frames) -> Iterator[tuple[str, str]]:
    """(fold, what) where a patient or site stands in test and in another part."""
    named = frames.splits.merge(frames.targets[["dataset", "case", "group"]], on=["dataset", "case"], how="left")
    for key, fold in named.groupby(FOLD, sort=False, observed=True):
        rest = set(fold.loc[fold["part"] != "test", "group"])
        test = fold[fold["part"] == "test"]
        shared = test["group"].isin(rest)
        if shared.any():
            yield " ".join(map(str, key)), f"{shared.mean():.1%} of test rows share a patient with train or validation"


def _uncovered(frames: Frames) -> Iterator[tuple[str, str]]:
    """(row and fold, what) where other cases were predicted than the fold's test cases."""
    test = frames.splits[frames.splits["part"] == "test"]
    wanted = {key: frozenset(cases) for key, cases in test.groupby(FOLD, observed=True)["case"]}
    full = frames.predictions[frames.predictions["pattern"] == "full"]
    for key, cases in full.groupby(PLACE, sort=False, observed=True)["case"]:
        place = dict(zip(PLACE, key, strict=True))
        if frozenset(cases) != wanted.get(tuple(place[name] for name in FOLD)) or cases.duplicated().any():
            yield " ".join(map(str, key)), "other cases than the fold's test cases, or one twice"


def is_published(folder: Path) -> bool:
    """A folder of results without the cells that made them."""
    return not (folder / "cells").is_dir() and (folder / "audit.json").is_file()
