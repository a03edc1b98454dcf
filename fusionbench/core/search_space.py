"""What `fusionbench tune` may choose from: a model's options and keys of the training recipe, each with its values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TRAIN = "train."
"""Begins the name of a key of the training recipe; any other name is an option of the model."""


@dataclass(frozen=True)
class Interval:
    """Numbers from `low` to `high`, both included; whole ones where both are written as whole numbers.

    Attributes:
        log: draw evenly over orders of magnitude.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"an interval with log = true must begin above 0 (got {self.low})")

    @property
    def whole(self) -> bool:
        """Only whole numbers: both ends were written as such."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The smallest and the largest value."""
        return self.low, self.high

    def __contains__(self, value: object) -> bool:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return number and self.low <= float(str(value)) <= self.high and (not self.whole or isinstance(value, int))


@dataclass(frozen=True)
class Choice:
    """One of several values, without an order."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(set(self.values)) < max(2, len(self.values)):
            raise ValueError(f"give at least two values, each once (got {list(self.values)})")

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every value: a choice has no order."""
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values


Dimension = Interval | Choice
SearchSpace = Mapping[str, Dimension]
"""Name of an option, or `train.` and a key of the recipe, to its values."""
