"""What of a prediction is explained: the risk, or the log odds of one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionbench.core.endpoints import ClassPrediction, Prediction, survival_prediction
from fusionbench.core.errors import SuiteError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExplainedScore:
    """The number of a case that is explained, and how texts name it.

    Attributes:
        label: the class whose log odds are explained; empty for the risk of survival.
        is_default: whether a request that names no class is about the same.
    """

    label: str = ""
    is_default: bool = True

    @classmethod
    def of(cls, classes: Sequence[str], label: str | None) -> ExplainedScore:
        """The score of an endpoint.

        Args:
            classes: of the endpoint, in order; none for survival.
            label: the class that is asked for; None is the last one, of two the positive one.

        Raises:
            SuiteError: the endpoint has no such class, or has none.
        """
        if not classes:
            if label is not None:
                raise SuiteError(f"--class {label}: the endpoint is survival, which has no classes; leave it out")
            return cls()
        if label is not None and label not in classes:
            raise SuiteError(did_you_mean("class", label, classes))
        return cls(label or classes[-1], label in (None, classes[-1]))

    @property
    def key(self) -> str:
        """Its name in tables and JSON."""
        return "log_odds" if self.label else "risk"

    @property
    def name(self) -> str:
        """`risk`, or `log odds of 'high'`."""
        return f"log odds of {self.label!r}" if self.label else "risk"

    @property
    def plural(self) -> str:
        """Of several cases."""
        return self.name if self.label else "risks"

    @property
    def pronoun(self) -> str:
        """`it`, or `them`."""
        return "them" if self.label else "it"

    @property
    def direction(self) -> str:
        """What a higher value means."""
        return "higher = more probable" if self.label else "higher = earlier event"

    def values(self, prediction: Prediction) -> Floats:
        """(case,) the score of each case of a prediction."""
        if isinstance(prediction, ClassPrediction):
            return prediction.log_odds[:, prediction.classes.index(self.label)]
        return survival_prediction(prediction).risk


RISK = ExplainedScore()
"""Of survival."""
