"""A sound model that has prototypes prepared before training, and copies of it with one defect each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fusionbench import (
    CaseSet,
    FitContext,
    ModalitySpec,
    Predictor,
    Preparation,
    PreparationContext,
    PreparedBag,
    State,
    Task,
)
from tests.conformance.broken import Sound, fails


class Centre(Preparation):
    """The mean of some instances; an instance minus it, and a one, is a token."""

    name = "centre"

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        rows = torch.cat([case.bags[name].values for case in train for name in self.reads])
        chosen = np.random.default_rng(ctx.seed).permutation(len(rows))[:50]
        return {"centre": rows[chosen].mean(dim=0).numpy()}

    def tokens(self, name: str, bag: PreparedBag, state: State) -> Tensor:
        return torch.cat([bag.values - torch.from_numpy(state["centre"]), torch.ones(len(bag.values), 1)], dim=1)


class Prepared(Sound):
    """Bags around the training fold's mean."""

    name = "prepared"
    preparation: type[Preparation] = Centre

    def preparations(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Preparation]:
        return [self.preparation(reads=("image",))]


class PreparedAndImputed(Prepared):
    """The harness fills in what is missing: the tokens of the training mean."""

    name = "prepared-and-imputed"
    missing = "impute"


class _Unseeded(Centre):
    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        state = super().prepare(train, ctx)
        return {"centre": state["centre"] + np.random.default_rng().normal(size=1).astype(np.float32)}


@fails("prepares")
class PreparesUnseeded(Prepared):
    """Its preparation draws from a generator that nothing seeds."""

    preparation = _Unseeded


class _Counting(Centre):
    calls: ClassVar[list[int]] = [0]

    def tokens(self, name: str, bag: PreparedBag, state: State) -> Tensor:
        self.calls[0] += 1
        return super().tokens(name, bag, state) + self.calls[0] * 1e-3


@fails("prepares")
class CountsCases(Prepared):
    """Its tokens depend on how many were asked for before."""

    preparation = _Counting


class _Remembering(Centre):
    kept: ClassVar[list[CaseSet]] = []

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        state = dict(super().prepare(train, ctx))
        for cases in self.kept:
            state["centre"] = state["centre"] + cases[0].bags["image"].values.mean(dim=0).numpy()
        return state


@fails("prepares")
class PreparesFromValidation(Prepared):
    """Its preparation reads validation cases that a fit before has kept."""

    preparation = _Remembering

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        shown: Any = [i for i, case in enumerate(val.cases) if "image" in val.visible(case)]
        _Remembering.kept[:] = [val.take(shown)]
        return super().fit(train, val, ctx)
