"""Checks of a function that writes sections below a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.registry import Registry
from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.document import Section
from fusionbench.report.model import FULL, HARRELL
from fusionbench.results.frames import Frames
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, checks_of

FOLDS, CASES = 2, 12
MODELS = ("model-a", "model-b")


class FindingsSubject:
    """A registered function."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.name = name
        self.write: Callable[[Analysis, Mapping[str, Any]], Iterable[Section]] = registry.get("findings", name)


CHECKS: Checklist[FindingsSubject] = Checklist()


@CHECKS.add(
    "documented",
    "The function has a docstring.",
    cause="a function whose sections nobody described.",
)
def documented(subject: FindingsSubject) -> None:
    if not (subject.write.__doc__ or "").strip():
        raise Failure(f"{subject.name!r} has no docstring")


@CHECKS.add(
    "writes-sections",
    "From the results of two models on one cohort it yields sections, or none.",
    cause="a key of the lock, or a column of a frame, that only some suites have.",
)
def writes_sections(subject: FindingsSubject) -> None:
    for section in subject.write(_analysis(), _lock()):
        if not isinstance(section, Section):
            raise Failure(f"it yielded {type(section).__name__}", "fusionbench.report.api.Section")
        ragged = [line for line in section.lines if len(line) != len(section.header)]
        if ragged:
            raise Failure(f"section {section.title!r}: {len(ragged[0])} entries under {len(section.header)} columns")


def _analysis() -> Analysis:
    """Two models on two folds; without predictions, so that there are no bootstrap intervals."""
    cells = pd.DataFrame(
        {"dataset": "toy", "model": model, "modalities": "omic", "variant": "base", "repeat": 0, "fold": fold}
        for model, fold in product(MODELS, range(FOLDS))
    )
    score = 0.6 + 0.05 * np.arange(len(cells))
    folds = cells.assign(pattern=FULL, metric=HARRELL, value=score, reason="", n_cases=CASES, n_prior=0, realised=0.0)
    made = {"protocol": "clean", "status": "ok", "reason": "", "policy": "native", "tuned": "default", "key": ""}
    case = [f"case-{i:02d}" for i in range(FOLDS * CASES)]
    targets = pd.DataFrame({"dataset": "toy", "case": case, "group": case, "modalities": "omic"})
    sizes = pd.DataFrame({"dataset": "toy", "variant": "base", "repeat": 0, "fold": range(FOLDS)})
    place = list(cells.columns)
    no_predictions = pd.DataFrame(columns=[*place, "pattern", "draw", "case", "risk"])
    frames = Frames(
        cells=cells.assign(**made, train_pattern=FULL, unit="patient", n_inputs=1),
        folds=folds,
        predictions=no_predictions.astype({"draw": int, "risk": float}),
        targets=targets.assign(time=1.0 + np.arange(len(case)), event=True),
        sizes=sizes.assign(n_train=CASES, n_test=CASES, fold_source="generated", sd_ddof=1),
        splits=pd.DataFrame(),
        history=pd.DataFrame(columns=[*place, "epoch", "split", "quantity", "value"]),
    )
    return analyse(frames, directions={HARRELL: True}, seed=0, draws=10)


def _lock() -> dict[str, Any]:
    suite = {"name": "toy-suite", "title": "Toy", "seed": 0, "base": True, "datasets": ["toy"], "models": list(MODELS)}
    suite |= {"protocol": Protocol().model_dump(mode="json", exclude_none=True), "metrics": [HARRELL]}
    suite |= {"train": TrainRecipe().model_dump(mode="json", exclude_none=True)}
    return {"suite": suite, "datasets": {"toy": {}}}


PROMISES: tuple[Promise[FindingsSubject], ...] = tuple(CHECKS.promises)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one function."""
    return checks_of("findings", name, lambda: FindingsSubject(name, registry), PROMISES)
