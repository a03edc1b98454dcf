"""Models in a few lines each."""

import os
import signal
from typing import Literal

import numpy as np

from fusionbench import FusionModel, Options, Predictor, SurvivalPrediction


def _features(cases):
    return np.stack([np.concatenate([bag.values.mean(0).numpy() for bag in case.bags.values()]) for case in cases])


class Linear(Predictor):
    def __init__(self, weights):
        self.weights = weights

    def predict(self, cases):
        return SurvivalPrediction(cases.ids, _features(cases) @ self.weights)

    def state(self):
        return {"weights": self.weights}


class LeastSquares(FusionModel):
    """Ridge regression of minus log time on the means of all modalities; censored times as they are."""

    name = "example-least-squares"
    missing = "impute"

    class Options(Options):
        ridge: float = 10.0

    def fit(self, train, val, ctx):
        x = _features(train)
        y = -np.log1p(train.targets.time)
        gram = x.T @ x + self.options.ridge * np.eye(x.shape[1])
        return Linear(np.linalg.solve(gram, x.T @ (y - y.mean())).astype(np.float64))

    def restore(self, state, ctx):
        return Linear(state["weights"])


class Failing(LeastSquares):
    """Fails on purpose, on folds whose number of training cases is as asked."""

    name = "example-failing"

    def fit(self, train, val, ctx):
        raise ValueError("this model fails on purpose")


class Flat(LeastSquares):
    """Says the same of everybody, or NaN."""

    name = "example-flat"

    class Options(Options):
        value: Literal["zero", "undefined"] = "zero"

    def fit(self, train, val, ctx):
        weights = np.zeros(_features(train).shape[1])
        return Linear(weights if self.options.value == "zero" else weights * np.nan)


class Interrupted(LeastSquares):
    """Behaves as if the user pressed Ctrl-C while it fits; with EXAMPLE_CALM set it does not."""

    name = "example-interrupted"

    def fit(self, train, val, ctx):
        if "EXAMPLE_CALM" not in os.environ:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
            os.kill(os.getpid(), signal.SIGINT)
        return super().fit(train, val, ctx)
