"""A plugin that runs a piece of code at one of the places where it is called before a cell, outside one, or in one.

The environment says where (EARLY_PLACE) and what (EARLY_CODE).
"""

import os

import numpy as np
from pydantic import field_validator

from fusionbench import (
    Case,
    Choice,
    Dataset,
    DatasetInfo,
    FusionModel,
    Metric,
    ModalityUse,
    Options,
    Predictor,
    SurvivalPrediction,
    SurvivalTarget,
    hookimpl,
)
from fusionbench.builtin.vector import Vector


def meddle(place):
    if place == os.environ.get("EARLY_PLACE"):
        exec(os.environ["EARLY_CODE"])


meddle("import")


class Flat(Predictor):
    """Risks without a meaning."""

    def predict(self, cases):
        meddle("predict")
        return SurvivalPrediction(cases.ids, np.arange(len(cases), dtype=np.float64))

    def state(self):
        meddle("state")
        return {}


class Early(FusionModel):
    """Predicts nothing."""

    name = "early"
    missing = "native"

    class Options(Options):
        """width: means nothing."""

        width: int = 1

        @field_validator("width")
        @classmethod
        def any_width(cls, value):
            meddle("options")
            return value

    def __init__(self, options):
        super().__init__(options)
        meddle("init")

    def skip(self, task, specs):
        meddle("skip")

    def members(self, task, specs):
        meddle("members")
        return ()

    def search_space(self):
        meddle("search space")
        return {"width": Choice((1, 2))}

    def fit(self, train, val, ctx):
        return Flat()

    def restore(self, state, ctx):
        return Flat()


class EarlyCohort(Dataset):
    """Sixty cases."""

    name = "early-cohort"

    def info(self):
        meddle("info")
        return DatasetInfo("Sixty cases", {"a": ModalityUse("early-vector", dim=2, features=("x", "y"))})

    def cases(self, unit="patient"):
        meddle("cases")
        return [
            Case(
                f"c{i}",
                f"c{i}",
                SurvivalTarget(1.0 + i * 13 % 60, i % 3 > 0),
                {"a": np.array([i * 7 % 11, i % 7], float)},
            )
            for i in range(60)
        ]

    def folds(self):
        meddle("folds")

    def sources(self):
        meddle("sources")
        return ()


class EarlyVector(Vector):
    """A vector."""

    name = "early-vector"

    def load(self, ref):
        meddle("load")
        return super().load(ref)


class EarlyMetric(Metric):
    """The same for everybody."""

    name = "early-metric"

    def __call__(self, prediction, test, train):
        meddle("metric")
        return 0.5


def early_section(analysis, lock):
    meddle("findings")
    return []


@hookimpl
def fusionbench_models():
    meddle("hook")
    return [Early]


@hookimpl
def fusionbench_datasets():
    return [EarlyCohort]


@hookimpl
def fusionbench_modalities():
    return [EarlyVector]


@hookimpl
def fusionbench_metrics():
    return [EarlyMetric]


@hookimpl
def fusionbench_findings():
    return [early_section]
