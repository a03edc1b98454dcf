"""A line of the doctor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Line:
    """Something that was looked at.

    Attributes:
        verdict: note = good to know, nothing is wrong; problem = something will not work, and the text says what to do.
    """

    verdict: Verdict
    what: str
    text: str
