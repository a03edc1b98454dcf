"""Numbers with their noun: `1 cell`, `2 cells`."""

from __future__ import annotations


def plural(n: int, noun: str, several: str = "") -> str:
    """A number and its noun, in the plural unless it is one.

    Args:
        several: the noun in the plural, where that is not made with an `s`.
    """
    return f"{n} {noun if n == 1 else several or f'{noun}s'}"
