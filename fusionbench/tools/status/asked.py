"""What `why` is asked, and what it answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.errors import SuiteError
from fusionbench.suites.suite import BASE
from fusionbench.tools.status.diff import Change


@dataclass(frozen=True)
class Wanted:
    """A cell by its place in a suite; the parts of the command line."""

    suite: str
    dataset: str
    model: str
    modalities: str
    fold: int
    repeat: int = 0
    variant: str = BASE


@dataclass(frozen=True)
class Answer:
    """What is known of one cell.

    Attributes:
        state: done, running, failed, stale, damaged, to do, skipped, or other: a stored cell that the suite as it is
            now does not ask for.
        folder: of the stored result that the answer is about; None where there is none.
        changes: inputs that differ between the stored result (old) and the cell as it is planned now (new).
        reason: of a failure, a skip or damage; who computes a running cell.
        raised_at: file, line and function in which a failure was raised.
        scores: pattern, metric, value or why it is undefined.
        advice: what to do; empty where there is nothing to do.
    """

    suite: str
    label: str
    key: str
    state: str
    folder: Path | None
    changes: tuple[Change, ...] = ()
    reason: str = ""
    raised_at: str = ""
    scores: tuple[str, ...] = ()
    advice: str = ""


def needs_place(words: Sequence[str], repeat: int, variant: str) -> Wanted | str:
    """A key, or five words that are a place.

    Raises:
        SuiteError: neither.
    """
    if len(words) == 1:
        return words[0]
    if len(words) != 5 or not re.fullmatch(r"\d{1,6}", words[4]):
        raise SuiteError(
            f"cannot read {' '.join(words)!r} as a cell: write a key, or SUITE DATASET MODEL MODALITIES FOLD, such as "
            "quickstart synthetic cox vector+bag 0"
        )
    suite, dataset, model, modalities, fold = words
    return Wanted(suite, dataset, model, modalities, int(fold), repeat, variant)
