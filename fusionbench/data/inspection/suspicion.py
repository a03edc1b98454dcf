"""One suspicion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "time-zero",
    "time-unit",
    "censorship-reversed",
    "no-modality",
    "few-groups",
    "group-astride",
    "named-like-outcome",
    "predicts-event",
    "filled-by-event",
    "predicts-time",
    "constant",
    "id-like",
]


@dataclass(frozen=True)
class Suspicion:
    """Something that may be right and mostly is not.

    Attributes:
        kind: a name that programs can rely on; docs/own-data.md says of each when it is warned of.
        where: the modality, or `follow-up`, `cases`, `folds`.
        text: what was seen, with numbers, and what to do; one line.
    """

    kind: Kind
    where: str
    text: str


def listed(names: list[str], most: int = 4) -> str:
    """The first few names, quoted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
