"""A sound model, and copies of it with one defect each: `DEFECTS` says which check, and no other, must fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from fusionbench import (
    Bag,
    Batch,
    CaseSet,
    ClassPrediction,
    FitContext,
    Interval,
    ModalitySpec,
    Options,
    Predictor,
    RestoreContext,
    SearchSpace,
    State,
    SurvivalPrediction,
    Task,
)
from fusionbench.nn import TorchModel

DEFECTS: dict[type[Any], str] = {}
"""Broken class to the check that is meant for it."""


def fails(check: str) -> Callable[[type[Any]], type[Any]]:
    """Enter a class as one that this check, and no other, must fail."""

    def enter(cls: type[Any]) -> type[Any]:
        cls.name = cls.__name__
        DEFECTS[cls] = check
        return cls

    return enter


class Net(nn.Module):
    """The sum of a linear layer on the mean of each modality that is there; times ten, to learn in few steps."""

    def __init__(self, task: Task, specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.Linear(spec.dim, task.n_outputs) for name, spec in specs.items()})
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, batch: Batch) -> Tensor:
        return torch.stack([self.part(batch.bags[name], name) for name in self.layers]).sum(dim=0)

    def part(self, bag: Bag, name: str) -> Tensor:
        return self.layers[name](10 * self.pool(bag)).where(bag.present[:, None], 0.0)

    def pool(self, bag: Bag) -> Tensor:
        real = bag.mask.unsqueeze(-1)
        return bag.values.where(real, 0.0).sum(dim=1) / real.sum(dim=1).clamp(min=1)


class Sound(TorchModel):
    """Linear layers on means; takes a vector with a bag, to be quick."""

    name = "sound"
    tasks = ("survival",)
    missing: Literal["native", "impute"] = "native"
    network: type[nn.Module] = Net

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return None if list(specs) == ["omic", "image"] else "tried on omic and image only"

    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return self.network(task, specs)


@dataclass
class Asking(Predictor):
    """A predictor around the sound one."""

    inner: Predictor

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        return self.changed(self.inner.predict(cases), cases)

    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return made

    def state(self) -> State:
        return self.inner.state()


class Wrapped(Sound):
    """The sound model with a predictor of its own."""

    name = "wrapped"
    predictor: type[Asking] = Asking

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        return self.predictor(super().fit(train, val, ctx))

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return self.predictor(super().restore(state, ctx))


class SoundOfClasses(Sound):
    """The sound model on survival and on classes."""

    name = "sound-of-classes"
    tasks = ("survival", "binary", "multiclass")


class _Halved(Asking):
    def changed(self, made: Any, cases: CaseSet) -> Any:
        return replace(made, probability=made.probability / 2) if isinstance(made, ClassPrediction) else made


@fails("classes")
class SumsToOneHalf(SoundOfClasses):
    """Its probabilities are halved."""

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        return _Halved(super().fit(train, val, ctx))

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return _Halved(super().restore(state, ctx))


@fails("documented")
class Undocumented(Sound):
    class Options(Options):
        """Says nothing of the one option."""

        width: int = 3


@fails("options-round-trip")
class NestedOptions(Sound):
    class Options(Options):
        """
        Attributes:
            inner: a table, which no suite can write.
        """

        class Inner(BaseModel):
            width: int = 3

        inner: Inner = Inner()


@fails("search-space")
class SearchesWhatItHasNot(Sound):
    def search_space(self) -> SearchSpace:
        return {**super().search_space(), "depth": Interval(1, 3)}


@fails("search-space")
class SearchesTooFar(Sound):
    def search_space(self) -> SearchSpace:
        return {"train.lr": Interval(0.0, 1.0)}


@fails("takes-a-modality-set")
class TakesNothing(Sound):
    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        return "is never content"


@fails("takes-a-modality-set")
class SkipsWithoutWords(Sound):
    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Any:
        return list(specs) != ["omic", "image"]


@fails("fits")
class CannotBuild(Sound):
    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        raise KeyError("clinical")


class _PeeksAtTargets(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return made if cases.targets is None else replace(made, risk=-cases.targets.time)


@fails("labels-not-read")
class ReadsLabels(Wrapped):
    predictor = _PeeksAtTargets


class _NeedsTargets(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        times = [case.target.time for case in cases.cases]
        return replace(made, risk=made.risk + 0.0 * np.array(times))


@fails("labels-not-read")
class NeedsLabels(Wrapped):
    predictor = _NeedsTargets


class _SinglePrecision(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk.astype(np.float32))


@fails("predictions")
class SinglePrecision(Wrapped):
    predictor = _SinglePrecision


class _Sorted(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, ids=tuple(sorted(made.ids, reverse=True)))


@fails("predictions")
class OtherOrder(Wrapped):
    predictor = _Sorted


class _CumulativeHazard(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, survival=1 - made.survival)


@fails("survival-curves")
class RisingSurvival(Wrapped):
    predictor = _CumulativeHazard


@fails("deterministic")
class Unseeded(Sound):
    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        net = Net(task, specs)
        with torch.no_grad():
            net.layers["omic"].bias.add_(random.SystemRandom().random())
        return net


class _Dropping(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=made.risk + np.random.default_rng().normal(size=len(cases)))


@fails("deterministic")
class DropsWhilePredicting(Wrapped):
    predictor = _Dropping


@fails("any-number-of-outputs")
class FourOutputs(Sound):
    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        return Net(Task(n_outputs=4), specs)


@fails("restores")
class Forgetful(Wrapped):
    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return super().restore({name: np.zeros_like(array) for name, array in state.items()}, ctx)


class _Lambda(Asking):
    def __init__(self, inner: Predictor) -> None:
        super().__init__(inner)
        self.link = lambda x: x


@fails("pickles")
class Unpicklable(Wrapped):
    predictor = _Lambda


class _Centred(Net):
    def forward(self, batch: Batch) -> Tensor:
        made = super().forward(batch)
        return made - made.mean(dim=0) if len(made) > 1 else made


@fails("batch-invariant")
class MixesBatch(Sound):
    network = _Centred


class _SoftmaxOverCases(Net):
    def forward(self, batch: Batch) -> Tensor:
        made = super().forward(batch)
        return made + made.softmax(dim=0)


@fails("batch-invariant")
class SoftmaxOverCases(Sound):
    network = _SoftmaxOverCases


class _Unmasked(Net):
    def pool(self, bag: Bag) -> Tensor:
        return bag.values.mean(dim=1)


@fails("padding-invariant")
class IgnoresMask(Sound):
    missing = "impute"
    network = _Unmasked


class _First(Net):
    def pool(self, bag: Bag) -> Tensor:
        return bag.values[:, 0].where(bag.present[:, None], 0.0)


@fails("instance-order-invariant")
class TakesTheFirst(Sound):
    network = _First


class Ordered(TakesTheFirst):
    """Takes the first instance, and says so."""

    name = "ordered"
    ordered_instances = True


class _InPlace(Net):
    def pool(self, bag: Bag) -> Tensor:
        bag.values.mul_(bag.mask.unsqueeze(-1) * 0.5)
        return super().pool(bag)


@fails("inputs-not-changed")
class ChangesBatch(Sound):
    missing = "impute"
    network = _InPlace


@fails("inputs-not-changed")
class ChangesCases(Sound):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        for case in train:
            for bag in case.bags.values():
                bag.values.add_(0.1)
        return super().fit(train, val, ctx)


def means(cases: CaseSet, widths: Mapping[str, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(case, column): the means of all modalities, cut or padded to `widths`."""
    rows = []
    for case in cases:
        parts = [case.bags[name].values.mean(dim=0).numpy()[:width] for name, width in widths.items()]
        rows.append(np.concatenate([np.pad(p, (0, w - len(p))) for p, w in zip(parts, widths.values(), strict=True)]))
    return np.array(rows, dtype=np.float64)


class LinearPredictor(Predictor):
    """The product of means and weights."""

    def __init__(self, weights: Any, widths: Mapping[str, int]) -> None:
        self.weights, self.widths = weights, dict(widths)

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        return SurvivalPrediction(cases.ids, (means(cases, self.widths) * self.weights).sum(axis=1))

    def state(self) -> State:
        return {"weights": self.weights}


@fails("refuses-other-widths")
class AnyWidth(Sound):
    missing = "impute"

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        widths = {name: spec.dim for name, spec in ctx.specs.items()}
        x, y = means(train, widths), -np.log1p(train.targets.time)
        return LinearPredictor(np.linalg.lstsq(x, y - y.mean(), rcond=1e-3)[0], widths)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return LinearPredictor(state["weights"], {name: spec.dim for name, spec in ctx.specs.items()})


class _SwallowingPredictor(LinearPredictor):
    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        try:
            x = np.array([[*(v for b in case.bags.values() for v in b.values.mean(dim=0).tolist())] for case in cases])
            return SurvivalPrediction(cases.ids, (x * self.weights).sum(axis=1))
        except ValueError:
            return SurvivalPrediction(cases.ids, np.zeros(len(cases)))


@fails("refuses-other-widths")
class Swallows(AnyWidth):
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        fitted = super().fit(train, val, ctx)
        return _SwallowingPredictor(fitted.weights, fitted.widths)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return _SwallowingPredictor(state["weights"], {})


class _SwallowingNet(Net):
    def part(self, bag: Bag, name: str) -> Tensor:
        try:
            return self.layers[name](bag.values.squeeze(1) if name == "omic" else bag.values.flatten(1))
        except RuntimeError:
            return bag.values.new_zeros(len(bag.values), self.layers[name].out_features)


@fails("uses-every-modality")
class SwallowsInForward(Sound):
    missing = "impute"
    network = _SwallowingNet


class _OmicOnly(Net):
    def forward(self, batch: Batch) -> Tensor:
        return self.part(batch.bags["omic"], "omic")


@fails("uses-every-modality")
class IgnoresImage(Sound):
    missing = "impute"
    network = _OmicOnly


class _Demanding(Net):
    def part(self, bag: Bag, name: str) -> Tensor:
        if not self.training and not bool(bag.present.all()):
            raise ValueError("a case lacks a modality")
        return super().part(bag, name)


@fails("copes-with-missing")
class NeedsEverything(Sound):
    network = _Demanding

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        complete = val.take([i for i, case in enumerate(val.cases) if len(val.visible(case)) == len(val.specs)])
        return _OnComplete(super().fit(train, complete, ctx))

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return _OnComplete(super().restore(state, ctx))


class _OnComplete(Asking):
    """Repeats its complete cases where validation cases are asked about."""

    def predict_validation(self, val: CaseSet) -> SurvivalPrediction:
        risk = np.zeros(len(val))
        rows = [i for i, case in enumerate(val.cases) if len(val.visible(case)) == len(val.specs)]
        risk[rows] = self.inner.predict(val.take(rows)).risk
        return SurvivalPrediction(val.ids, risk)


class _TimesTheMask(Net):
    def pool(self, bag: Bag) -> Tensor:
        real = bag.mask.unsqueeze(-1)
        return (bag.values * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)

    def part(self, bag: Bag, name: str) -> Tensor:
        return self.layers[name](self.pool(bag)) * bag.present[:, None]


@fails("missing-is-not-read")
class MultipliesByMask(Sound):
    network = _TimesTheMask


class _LooksAtRefs(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        first = [case.refs["omic"][0] if "omic" in case.refs else 0.0 for case in cases.cases]
        return replace(made, risk=made.risk + 0.01 * np.array(first))


@fails("missing-is-not-read")
class ReadsHidden(Wrapped):
    predictor = _LooksAtRefs


class _AllOrNothing(Net):
    def forward(self, batch: Batch) -> Tensor:
        complete = torch.stack([bag.present for bag in batch.bags.values()]).all(dim=0)
        return super().forward(batch).where(complete[:, None], 0.0)


@fails("missing-is-not-constant")
class ConstantOnMissing(Sound):
    network = _AllOrNothing


class _Spare(Net):
    def __init__(self, task: Task, specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__(task, specs)
        self.spare = nn.Linear(3, 3)


@fails("gradients")
class UnusedLayer(Sound):
    network = _Spare


class _Detached(Net):
    def __init__(self, task: Task, specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__(task, specs)
        nn.init.normal_(self.layers["image"].weight, std=0.1)

    def part(self, bag: Bag, name: str) -> Tensor:
        made = super().part(bag, name)
        return made if name == "omic" else made.detach() + 0 * made


@fails("gradients")
class CutGradient(Sound):
    network = _Detached


class _Cancelling(Net):
    def __init__(self, task: Task, specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__(task, specs)
        self.shift = nn.Parameter(torch.ones(1))

    def forward(self, batch: Batch) -> Tensor:
        return super().forward(batch) + (self.shift - self.shift)


class Cancelling(Sound):
    """Has a parameter whose gradient is zero because it changes nothing, as the bias of a softmax's score."""

    name = "cancelling"
    network = _Cancelling


class _OneNumber(Net):
    """Every case through one number, the mean of everything: too little to tell eight cases apart."""

    def forward(self, batch: Batch) -> Tensor:
        omic = self.pool(batch.bags["omic"]) @ torch.linspace(1, -1, 12)
        image = self.pool(batch.bags["image"]).mean(dim=1)
        return self.head((0.1 * omic + image)[:, None])

    def __init__(self, task: Task, specs: Mapping[str, ModalitySpec]) -> None:
        super().__init__(task, {})
        self.head = nn.Linear(1, task.n_outputs)


@fails("overfits-eight-cases")
class TooSmall(Sound):
    network = _OneNumber


class _Negated(Asking):
    def changed(self, made: SurvivalPrediction, cases: CaseSet) -> SurvivalPrediction:
        return replace(made, risk=-made.risk)


@fails("risk-direction")
class Reversed(Wrapped):
    predictor = _Negated


class _OverCases(Net):
    def attention(self, batch: Batch) -> dict[str, Tensor]:
        return {"image": batch.bags["image"].values.sum(dim=-1).softmax(dim=0)[:, None, None]}


@fails("attention")
class AttendsOverCases(Sound):
    network = _OverCases


class _Evenly(Net):
    def attention(self, batch: Batch) -> dict[str, Tensor]:
        mask = batch.bags["image"].mask.float()
        return {"image": (mask / mask.sum(dim=1, keepdim=True).clamp(min=1))[:, None, None]}


class Attentive(Sound):
    """Says where it looks: everywhere."""

    name = "attentive"
    network = _Evenly
