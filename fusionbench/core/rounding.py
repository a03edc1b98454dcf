"""Thresholds that one rounding error would move."""

from __future__ import annotations

from fractions import Fraction

DIGITS = 12
"""Decimals of scores that rounding errors do not reach."""
ROUNDING = 1e-12
"""Scores that differ by less are equal: sums of the same numbers in another order differ by less than 1e-14."""


def part_of(n: int, share: float) -> Fraction:
    """A share of `n` cases, exactly: 0.35 of 90 is 31.5, where the product of two floats is 31.499999999999996.

    Args:
        share: is taken as the decimal number that it is written as.
    """
    return Fraction(str(share)) * n
