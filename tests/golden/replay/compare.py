"""How far two arrays lie apart, and what became of a whole file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

TOLERANCE = {False: 1e-5, True: 1e-8}
"""Largest error relative to the output's scale, for a reference in float32 and in float64."""


@dataclass(frozen=True)
class Comparison:
    """One array.

    Attributes:
        error: largest absolute difference over the largest absolute value of the reference (over 1 where that is 0);
            inf where the shapes differ or a number is not finite.
        left_out, of: values that were left out because the reference is NaN or inf there, and how many there are.
        note: what went wrong beside the numbers.
    """

    name: str
    error: float
    left_out: int = 0
    of: int = 0
    note: str = ""


def compare(name: str, ours: Any, theirs: Any, *, finite_only: bool = False) -> Comparison:
    """Our array against the reference's.

    Args:
        finite_only: leave out where the reference is NaN or inf, and say how many values that are.
    """
    mine, reference = (np.asarray(x.detach() if isinstance(x, torch.Tensor) else x) for x in (ours, theirs))
    if mine.shape != reference.shape:
        return Comparison(name, np.inf, note=f"has shape {mine.shape}, the reference {reference.shape}")
    mine, reference = mine.astype(np.float64), reference.astype(np.float64)
    used = np.isfinite(reference) if finite_only else np.ones(reference.shape, dtype=bool)
    left_out = int(used.size - used.sum())
    for where, numbers in (("here", mine), ("in the reference", reference)):
        if not np.isfinite(numbers[used]).all():
            return Comparison(name, np.inf, left_out, used.size, f"NaN or inf {where}")
    scale = np.abs(reference[used]).max(initial=0.0) or 1.0
    error = np.abs(mine[used] - reference[used]).max(initial=0.0) / scale
    return Comparison(name, float(error), left_out, used.size)


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        kind: what the file holds.
        comparisons: of arrays with at least one value to compare.
        empty: names of outputs whose every value is NaN or inf in the reference.
        not_compared: names of arrays that nothing here corresponds to.
        reason: why the file could not be replayed at all; empty where it could.
    """

    kind: str
    comparisons: Sequence[Comparison] = ()
    empty: Sequence[str] = ()
    tolerance: float = 0.0
    not_compared: Sequence[str] = ()
    reason: str = ""

    @property
    def largest(self) -> float:
        """The largest error; NaN where nothing was compared."""
        return max((c.error for c in self.comparisons), default=np.nan)

    @property
    def failures(self) -> list[str]:
        """Every reason why this file does not pass, one line each."""
        if self.reason:
            return [self.reason]
        if not self.comparisons:
            return ["nothing was compared: the file holds no output that is known here"]
        return [
            f"{c.name}: relative error {c.error:.1e}, allowed {self.tolerance:.0e}" + (f" ({c.note})" if c.note else "")
            for c in self.comparisons
            if not c.error <= self.tolerance
        ] + [f"{name}: an output that nothing here corresponds to" for name in self.not_compared if _is_output(name)]

    @property
    def passed(self) -> bool:
        return not self.failures


def _is_output(name: str) -> bool:
    return name == "output" or name.startswith("output/")
