"""Models with one defect each that know, keep or write what they must not, or whose curves are off; see `broken`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from fusionbench import (
    Bag,
    CaseSet,
    FitContext,
    ModalitySpec,
    Predictor,
    RestoreContext,
    State,
    SurvivalPrediction,
    Task,
)
from fusionbench.core.registry import discover
from fusionbench.core.types import SurvivalTargets
from tests.conformance.broken import AnyWidth, Asking, LinearPredictor, Net, Sound, Wrapped, fails, means

NOT_CAUGHT: dict[type[Any], str] = {}
"""Wrong model to the reason why no check can tell."""


def passes(reason: str) -> Any:
    """Enter a class as one that is wrong and passes."""

    def enter(cls: type[Any]) -> type[Any]:
        cls.name = cls.__name__
        NOT_CAUGHT[cls] = reason
        return cls

    return enter


def number_of(text: str) -> int:
    return zlib.crc32(text.encode())


class _Remembering(Asking):
    """Says the negative time of the cases whose ids it has seen."""

    def __init__(self, inner: Predictor, times: Mapping[int, float]) -> None:
        super().__init__(inner)
        self.times = dict(times)

    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        times = [self.times.get(number_of(id_)) for id_ in cases.ids]
        return replace(made, risk=np.array([r if t is None else -t for r, t in zip(made.risk, times, strict=True)]))

    def state(self) -> State:
        known = {"known.ids": np.array(list(self.times)), "known.times": np.array(list(self.times.values()))}
        return {**self.inner.state(), **known}


@fails("ids-not-read")
class RemembersTrainingCases(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        times = dict(zip(map(number_of, train.ids), train.targets.time.tolist(), strict=True))
        return _Remembering(super().fit(train, val, ctx), times)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        known = dict(zip(state["known.ids"].tolist(), state["known.times"].tolist(), strict=True))
        inner = {name: array for name, array in state.items() if not name.startswith("known.")}
        return _Remembering(super().restore(inner, ctx), known)


class _ByIdHash(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + 1e-3 * np.array([number_of(id_) % 7 for id_ in cases.ids]))


@fails("ids-not-read")
class ReadsNumbersOutOfIds(Wrapped):
    predictor = _ByIdHash


class _ByGroup(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + 1e-3 * np.array([number_of(case.group) % 7 for case in cases.cases]))


@fails("ids-not-read")
class ReadsGroups(Wrapped):
    predictor = _ByGroup


def outcomes_file() -> Path:
    return Path(tempfile.gettempdir()) / "outcomes.json"


class _FromFile(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        known = json.loads(outcomes_file().read_text()) if outcomes_file().exists() else {}
        pairs = zip(cases.ids, made.risk, strict=True)
        return replace(made, risk=np.array([-known.get(id_, -risk) for id_, risk in pairs]))


@fails("ids-not-read")
class RemembersInFile(Wrapped):
    predictor = _FromFile

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        outcomes_file().write_text(json.dumps(dict(zip(train.ids, train.targets.time.tolist(), strict=True))))
        return super().fit(train, val, ctx)


class _FromCohort(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        cls = discover(("datasets",)).dataset("synthetic")
        known = {case.id: case.target.time for case in cls(cls.Options(), Path()).cases()}
        pairs = zip(cases.ids, made.risk, strict=True)
        return replace(made, risk=np.array([-known.get(id_, -risk) for id_, risk in pairs]))


@fails("ids-not-read")
class LooksUpCohort(Wrapped):
    predictor = _FromCohort


@fails("cohorts-not-read")
class OpensCohort(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        cls = discover(("datasets",)).dataset("breast-cancer")
        assert cls(cls.Options(), Path()).cases()
        return super().fit(train, val, ctx)


@fails("trains-on-training-cases")
class TrainsOnValidation(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        if train.ids == val.ids:
            return super().fit(train, val, ctx)
        parts = zip(vars(train.targets).values(), vars(val.targets).values(), strict=True)
        targets = SurvivalTargets(*(np.concatenate(both) for both in parts))
        return super().fit(replace(train, cases=(*train.cases, *val.cases), targets=targets), val, ctx)


@fails("trains-on-training-cases")
class CallsEverybodyDead(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        everybody = replace(train.targets, event=np.ones(len(train), dtype=bool))
        return super().fit(replace(train, targets=everybody), val, ctx)


@fails("trains-on-training-cases")
class ValidatesOnOtherTargets(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        return super().fit(train, replace(val, targets=replace(val.targets, time=val.targets.time + 1)), ctx)


@fails("deterministic")
class WarmStart(Sound):
    kept: ClassVar[dict[Any, Any]] = {}

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        net = super().build(task, specs)
        before = self.kept.get(task.n_outputs)
        if before is not None:
            net.load_state_dict(before.state_dict())
        self.kept[task.n_outputs] = net
        return net


@fails("independent-fits")
class KeepsFitsById(Sound):
    kept: ClassVar[dict[Any, Predictor]] = {}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        key = (train.ids, ctx.recipe.epochs, ctx.task.n_outputs)
        if key not in self.kept:
            self.kept[key] = super().fit(train, val, ctx)
        return self.kept[key]


class _ScaleOfTheClass(Asking):
    scale: ClassVar[float] = 1.0

    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk * _ScaleOfTheClass.scale)


@fails("independent-fits")
class KeepsScaleOnTheClass(Wrapped):
    predictor = _ScaleOfTheClass

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        _ScaleOfTheClass.scale = 1 + float(np.mean(train.targets.time)) / 100
        return super().fit(train, val, ctx)


@fails("other-process")
class FirstMeanForever(Sound):
    first: ClassVar[list[float]] = []

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        net = super().build(task, specs)
        with torch.no_grad():
            net.layers["omic"].bias.add_(self.first[0])
        return net

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        if not self.first:
            self.first.append(1e-2 * float(np.log1p(train.targets.time).mean()))
        return super().fit(train, val, ctx)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return ctx.module(Net(ctx.task, ctx.specs), state)


class _ByTheDay(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + 1e-3 * (time.time() // 86400))


@fails("other-process")
class ReadsTheClock(Wrapped):
    predictor = _ByTheDay


class _ByHash(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + 1e-9 * (hash("omic") % 10**6))


@fails("other-process")
class DependsOnHashSeed(Wrapped):
    predictor = _ByHash


class _ByHome(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + 1e-9 * (number_of(os.environ["HOME"]) % 10**6))


@fails("other-process")
class ReadsTheEnvironment(Wrapped):
    predictor = _ByHome


class _Named(Asking):
    """Its state is a number under which the weights are kept."""

    def state(self) -> State:
        whole = b"".join(np.asarray(array).tobytes() for array in self.inner.state().values())
        return {"name": np.array([zlib.crc32(whole)])}


@fails("other-process")
class KeepsWeightsInProcess(Sound):
    kept: ClassVar[dict[int, Predictor]] = {}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        predictor = _Named(super().fit(train, val, ctx))
        self.kept[int(predictor.state()["name"][0])] = predictor
        return predictor

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return self.kept[int(state["name"][0])]


@fails("other-process")
class KeepsWeightsInFile(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        predictor = _Named(super().fit(train, val, ctx))
        weights = predictor.inner.state()
        np.savez(Path(tempfile.gettempdir()) / f"{predictor.state()['name'][0]}.npz", **weights)
        return predictor

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        with np.load(Path(tempfile.gettempdir()) / f"{state['name'][0]}.npz") as weights:
            return _Named(super().restore(dict(weights), ctx))


@fails("writes-nothing")
class WritesCheckpoint(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        predictor = super().fit(train, val, ctx)
        np.savez("checkpoint.npz", **predictor.state())
        return predictor


class _Logging(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        (Path.home() / ".my-model.log").write_text(f"{len(cases)} cases")
        return made


@fails("writes-nothing")
class WritesIntoHome(Wrapped):
    predictor = _Logging


class _TopTwo(Net):
    """The mean of the two largest numbers of each feature."""

    def pool(self, bag: Bag) -> Tensor:
        if bag.values.shape[-1] != 8 or not bool(bag.mask.any()):
            return super().pool(bag)
        return bag.values.masked_fill(~bag.mask.unsqueeze(-1), -1e3).topk(2, dim=1).values.mean(dim=1)


@fails("ragged-batches")
class NeedsTwoInstances(Sound):
    network = _TopTwo


class _Spread(Net):
    """The mean, and a bit of the variance of the instances, as estimated from a sample."""

    def pool(self, bag: Bag) -> Tensor:
        mean = super().pool(bag)
        if bag.values.shape[-1] != 8:
            return mean
        real = bag.mask.unsqueeze(-1)
        squares = (bag.values - mean.unsqueeze(1)).where(real, 0.0).square().sum(dim=1)
        return mean + 0.01 * squares / (real.sum(dim=1) - 1)


@fails("ragged-batches")
class SpreadOfOneInstance(Sound):
    network = _Spread


class _OverLongest(Net):
    def pool(self, bag: Bag) -> Tensor:
        return bag.values.where(bag.mask.unsqueeze(-1), 0.0).mean(dim=1)


@fails("padding-invariant")
class DividesByLongest(Sound):
    network = _OverLongest


class _Standardised(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk - made.risk.mean()) if len(cases) > 1 else made


@fails("batch-invariant")
class CentresRisks(Wrapped):
    predictor = _Standardised


class _FlippedBins(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        if self.inner.extra:
            return made
        hazard = self.inner.logits(cases).sigmoid().numpy()
        return replace(made, survival=np.cumprod(1 - hazard[:, ::-1], axis=1)[:, : len(made.times)])


@fails("survival-near-kaplan-meier")
class ReversedBins(Wrapped):
    predictor = _FlippedBins


class _Late(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        first = np.ones((len(cases), 1))
        return replace(made, survival=np.concatenate([first, made.survival[:, :-1]], axis=1))


@fails("survival-near-kaplan-meier")
class SurvivalBeforeTheBin(Wrapped):
    predictor = _Late


class _Years(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, times=made.times / 12)


@fails("survival-near-kaplan-meier")
class TimesInYears(Wrapped):
    predictor = _Years


@passes("choosing the best of several fits on validation cases is allowed; how often it was done is not seen")
class BestOfSeeds(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        fits = [ctx.train(self.build(ctx.task, ctx.specs), train, val) for _ in range(2)]
        return min(fits, key=lambda fit: fit.validation_loss)


class _OnlyPatients(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        known = np.array([id_.startswith("TCGA-") for id_ in cases.ids])
        return replace(made, risk=made.risk + 1e-3 * known * np.array([number_of(id_) % 7 for id_ in cases.ids]))


@passes("the ids of cohorts that need files and belong to another plugin are not tried; `audit --replay` renames them")
class KnowsPatientsOfAnotherCohort(Wrapped):
    predictor = _OnlyPatients


class _OnlyLarge(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + (0.01 * np.arange(len(cases)) if len(cases) > 150 else 0.0))


@passes("it behaves on sets as small as those of the check")
class WaitsForMoreCases(Wrapped):
    predictor = _OnlyLarge


@passes("what is not trained by ctx.train may look at validation cases, and a choice among fits looks the same")
class FitsOnValidationByItself(AnyWidth):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        widths = {name: spec.dim for name, spec in ctx.specs.items()}
        x = np.concatenate([means(train, widths), means(val, widths)])
        y = -np.log1p(np.concatenate([train.targets.time, val.targets.time]))
        weights = np.linalg.lstsq(x, y - y.mean(), rcond=1e-3)[0]
        return _Strict(weights, widths)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return _Strict(state["weights"], {name: spec.dim for name, spec in ctx.specs.items()})


class _Strict(LinearPredictor):
    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        for case in cases:
            for name, bag in case.bags.items():
                if bag.values.shape[1] != self.widths[name]:
                    raise ValueError(f"{name!r} has {bag.values.shape[1]} columns")
        return super().predict(cases)


class _Shy(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        tried = any(name.startswith("fusionbench.testing") for name in sys.modules)
        return made if tried else replace(made, risk=-made.risk)


@passes("code that asks whether it is being checked can behave as long as it is")
class KnowsThatItIsChecked(Wrapped):
    predictor = _Shy
