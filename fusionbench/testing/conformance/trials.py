"""A model on one set of modalities: fitted, restored and asked by the parts that also run a cell."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fusionbench.core.endpoints import ClassPrediction, Prediction, TaskName
from fusionbench.core.interfaces import FusionModel
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import Preparation
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.registry import Registry
from fusionbench.core.seeds import derive
from fusionbench.core.types import Batch, CaseSet, Member, Outputs, SurvivalPrediction, Task
from fusionbench.data.bag_parts import with_neighbours
from fusionbench.data.collate import collate
from fusionbench.data.preparations import FittedPreparation
from fusionbench.data.preprocessing import Preprocessor
from fusionbench.data.stored_states import StoredState
from fusionbench.execution import evaluate
from fusionbench.execution.fit_context import Context, Fit, Loaded, Restore, make_model
from fusionbench.execution.preparation import compute, declared, shown_cases
from fusionbench.execution.training.outputs import forward, neighbours_of
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.tasks import task_kind
from fusionbench.testing.conformance import other_process
from fusionbench.testing.conformance.check import Failure, Skipped
from fusionbench.testing.conformance.other_process import lent_by
from fusionbench.testing.conformance.samples import EIGHT, SETS, Sample, as_classes, make_sample, with_half_the_data
from fusionbench.testing.other_process import FitJob, Reply, Request, RestoreJob

Floats = NDArray[np.float64]

RECIPE = TrainRecipe(epochs=20, lr=1.5e-3, batch_size=16, patience=5)
"""Enough steps to learn a strong signal from 96 cases."""
BRIEF = TrainRecipe(epochs=1, batch_size=16)
"""Enough steps to go through everything that training does."""
COX = BRIEF.model_copy(update={"loss": "cox"})
CPU = torch.device("cpu")


@dataclass
class RecordingContext(Context):
    """The harness's context, with a copy of each module as it was before training and the cases it was trained on."""

    fresh: list[nn.Module] = field(default_factory=list)
    given: list[tuple[CaseSet, CaseSet]] = field(default_factory=list)

    def train(self, module: nn.Module, train: CaseSet, val: CaseSet) -> Predictor:
        """Keep a copy of the untrained module and both case sets, then train it."""
        self.fresh.append(copy.deepcopy(module))
        self.given.append((train, val))
        return super().train(module, train, val)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model fitted on a sample; `sample` is as the model sees it."""

    model: FusionModel
    sample: Sample
    context: RecordingContext
    predictor: Predictor

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        """The prediction of the fitted model, as a ranking; see `as_ranking`."""
        return as_ranking(self.predictor.predict(cases))

    def risk(self, cases: CaseSet) -> Floats:
        """(case,) risks of cases without targets."""
        return np.asarray(self.predict(cases.without_targets()).risk, dtype=np.float64)

    @property
    def module(self) -> TorchPredictor | None:
        """The last module that was trained by `ctx.train`, or None."""
        return self.context.trained[-1] if self.context.trained else None


def as_ranking(made: Prediction) -> SurvivalPrediction:
    """A prediction as most checks look at it: of classes the log odds of the last one stand in the place of a risk."""
    if isinstance(made, ClassPrediction):
        return SurvivalPrediction(made.ids, np.ascontiguousarray(made.scores[:, -1]))
    return made


class Fitter:
    """Fits models the way a cell does, members first."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._members: dict[tuple[object, ...], Fit] = {}
        self._states: list[tuple[Preparation, tuple[object, ...], StoredState]] = []

    def fit(
        self, ref: PluginRef, sample: Sample, recipe: TrainRecipe = RECIPE, *, suites: TrainRecipe | None = None
    ) -> Fitted:
        """Fit under a seed of the model's own; the process's random state is left as it was.

        Args:
            suites: recipe of the members, where `recipe` is the model's own.
        """
        model = make_model(self.registry, ref)
        names = tuple(sample.test.specs)
        members = {m: self._member(m, sample, suites or recipe) for m in model.members(sample.task, sample.raw_specs)}
        preprocessor = self._prepared(model, sample)
        if model.missing == "impute":
            preprocessor = preprocessor.imputing()
        if preprocessor is not sample.preprocessor:
            sample = sample.prepared_by(preprocessor)
        seed = derive(0, "conformance", str(ref), *names)
        made = preprocessor.preparations
        context = RecordingContext(sample.task, sample.test.specs, seed, CPU, recipe, members, preparations=made)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            predictor = model.fit(sample.train, sample.val, context)
        if not isinstance(predictor, Predictor):
            raise Failure(f"fit returned {type(predictor).__name__} on {'+'.join(names)}", "a fusionbench.Predictor")
        return Fitted(model, sample, context, predictor)

    def restore(self, fitted: Fitted, ref: PluginRef, state: Mapping[str, NDArray[np.generic]]) -> Predictor:
        """A predictor from stored arrays, by a model made anew."""
        context = fitted.context
        own = Restore(context.task, context.specs, CPU, context.members, context.recipe, context.preparations)
        return make_model(self.registry, ref).restore(state, own)

    def _prepared(self, model: FusionModel, sample: Sample) -> Preprocessor:
        """The sample's preprocessor with what the model wants prepared; as in a run, it is computed once."""
        fitted = []
        for wanted in declared(model, sample.task, sample.preprocessor.specs):
            cases = (tuple(sample.test.specs), sample.informed, sample.doubled)
            known = [state for one, of, state in self._states if (one, of) == (wanted, cases)]
            state = known[0] if known else compute_state(wanted, sample)
            self._states += [] if known else [(wanted, cases, state)]
            fitted.append(FittedPreparation(wanted, state.state, state.ledger))
        return replace(sample.preprocessor, preparations=tuple(fitted)) if fitted else sample.preprocessor

    def _member(self, member: Member, sample: Sample, recipe: TrainRecipe) -> Fit:
        """A member's fit; its own modalities tell what it is fitted on, whatever others there are."""
        informed = sample.informed if sample.informed == EIGHT else sample.informed & {*member.modalities}
        known = (member, informed, sample.doubled, sample.task, recipe)
        if known not in self._members:
            self._members[known] = self._fit_member(member, sample, recipe)
        return self._members[known]

    def _fit_member(self, member: Member, sample: Sample, recipe: TrainRecipe) -> Fit:
        own = restricted(sample, member.modalities)
        fitted = self.fit(member.model, own, recipe)
        who = f"member {member.model}"
        kind = task_kind(sample.task.kind)
        prior = evaluate.prior_prediction(kind, fitted.predictor, fitted.sample.train, sample.task, who)
        validation, _ = evaluate.predict_all(fitted.predictor, fitted.sample.val, prior, who, validation=True)
        loss = fitted.module.validation_loss if fitted.module else float("nan")
        return Fit(Loaded(fitted.predictor, fitted.sample.preprocessor), validation, prior, loss)


def compute_state(preparation: Preparation, sample: Sample) -> StoredState:
    """What a preparation makes of a sample's training cases, computed anew."""
    cases = shown_cases(sample.train, sample.preprocessor, preparation.reads)
    return compute(preparation, cases, derive(0, "conformance", preparation.name), CPU)


def restricted(sample: Sample, modalities: Sequence[str]) -> Sample:
    """The sample through fewer modalities; training and validation cases that have none of them are left out."""
    preprocessor = sample.preprocessor.restrict(modalities)

    def part(cases: CaseSet) -> CaseSet:
        seen = cases.restrict(modalities)
        kept = seen.take([i for i, case in enumerate(seen.cases) if seen.visible(case)])
        return CaseSet(kept.cases, preprocessor.specs, kept.targets, preprocessor.prepare, kept.hidden)

    specs = {name: sample.raw_specs[name] for name in modalities}
    train, val, test = part(sample.train), part(sample.val), part(sample.test)
    return replace(sample, raw_specs=specs, preprocessor=preprocessor, train=train, val=val, test=test)


@dataclass(eq=False)
class Trial:
    """A model on one set of modalities.

    Attributes:
        kind: of the endpoint that it is tried on.
        learnt: the fit on eight cases that knows their order by heart, once a check has made one.
    """

    ref: PluginRef
    modalities: tuple[str, ...]
    fitter: Fitter
    kind: TaskName = "survival"
    learnt: Fitted | None = None
    _informed: dict[tuple[str, ...], Fitted] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its modalities, joined by `+`."""
        return "+".join(self.modalities)

    @cached_property
    def sample(self) -> Sample:
        """The toy cohort that it is tried on."""
        return as_classes(make_sample(self.modalities), self.kind)

    @cached_property
    def fitted(self) -> Fitted:
        """The model with its default options, fitted once."""
        return self.fitter.fit(self.ref, self.sample)

    @cached_property
    def plain(self) -> SurvivalPrediction:
        """The prediction on the complete test cases."""
        return self.fitted.predict(self.fitted.sample.test)

    @property
    def test(self) -> CaseSet:
        """The test cases, as the model sees them."""
        return self.fitted.sample.test

    def kinds(self, *kinds: str) -> tuple[str, ...]:
        """The modalities of these kinds."""
        return tuple(name for name, spec in self.test.specs.items() if spec.kind in kinds)

    def informed(self, signal: Sequence[str]) -> Fitted:
        """The model fitted where only `signal` tells the outcome."""
        key = tuple(signal)
        if key not in self._informed:
            self._informed[key] = self.fitter.fit(self.ref, as_classes(make_sample(self.modalities, signal), self.kind))
        return self._informed[key]


class ModelSubject:
    """A model with its default options, or with those that were asked for, before all sets of modalities."""

    def __init__(self, ref: PluginRef, registry: Registry) -> None:
        self.ref, self.registry = ref, registry
        self.cls: type[FusionModel] = registry.model(ref.name)
        self.fitter = Fitter(registry)
        self._brief: dict[tuple[tuple[str, ...], bool], Fitted] = {}
        other_process.start()

    @cached_property
    def refused(self) -> Mapping[tuple[str, ...], object]:
        """Modality set to what `skip` says of it; None where the model takes it."""
        model = make_model(self.registry, self.ref)
        specs = make_sample(sorted({name for names in SETS for name in names})).raw_specs
        task = as_classes(make_sample(SETS[0]), self.kind).task
        return {names: model.skip(task, {name: specs[name] for name in names}) for names in SETS}

    @property
    def kind(self) -> TaskName:
        """The kind of endpoint of most checks: survival, or the first kind of a model that does not take it."""
        return "survival" if "survival" in self.cls.tasks else self.cls.tasks[0]

    @cached_property
    def trials(self) -> list[Trial]:
        """One trial for each set of modalities that the model takes."""
        return [Trial(self.ref, names, self.fitter, self.kind) for names, said in self.refused.items() if not said]

    def brief(self, trial: Trial, *, other: bool = False) -> Fitted:
        """The model fitted for one epoch on a trial's sample, or on other cases of the same ids; fitted once."""
        key = (trial.modalities, other)
        if key not in self._brief:
            sample = with_half_the_data(trial.sample) if other else trial.sample
            self._brief[key] = self.fitter.fit(trial.ref, sample, BRIEF)
        return self._brief[key]

    @cached_property
    def elsewhere(self) -> Reply:
        """Every trial restored in another process, and the widest ones fitted there on other cases."""
        restores = [
            RestoreJob(lent_by(trial.fitted.context), trial.fitted.predictor.state(), trial.test)
            for trial in self.trials
        ]
        brief = [self.brief(trial, other=True) for trial in self.widest()]
        fits = [FitJob(lent_by(fitted.context), fitted.sample.train, fitted.sample.val) for fitted in brief]
        return other_process.ask(Request(self.trials[0].fitted.model, restores, fits))

    def several(self) -> list[Trial]:
        """The trials of more than one modality; none is a reason to skip."""
        found = [trial for trial in self.trials if len(trial.modalities) > 1]
        if not found:
            raise Skipped("it takes one modality at a time, so none can be missing or weighed against another")
        return found

    def widest(self) -> list[Trial]:
        """The trials whose modalities are not part of another one's."""
        sets = [set(trial.modalities) for trial in self.trials]
        return [trial for trial, own in zip(self.trials, sets, strict=True) if not any(own < other for other in sets)]

    def with_kinds(self, *kinds: str) -> list[Trial]:
        """The trials with a modality of these kinds."""
        found = [trial for trial in self.trials if trial.kinds(*kinds)]
        if not found:
            raise Skipped(f"it takes no {' and no '.join(kinds)}")
        return found

    def with_module(self, trials: Sequence[Trial]) -> list[tuple[Trial, TorchPredictor]]:
        """Those of `trials` where the model trains a torch module."""
        found = [(trial, trial.fitted.module) for trial in trials]
        kept = [(trial, module) for trial, module in found if module is not None]
        if not kept:
            raise Skipped("it trains no torch module with ctx.train")
        return kept


def batch_of(cases: CaseSet, module: nn.Module, count: int | None = None) -> Batch:
    """The first cases side by side, in tensors of their own, with the neighbours that the module asks for."""
    chosen, asked = cases if count is None else cases.take(range(count)), neighbours_of(module)
    return collate([with_neighbours(case, asked, chosen.specs) for case in chosen], chosen.specs, chosen.targets)


def logits(module: nn.Module, batch: Batch) -> Tensor:
    """(case, output) in evaluation mode, on a copy of the batch and of the module."""
    ready = copy.deepcopy(module).eval()
    with torch.no_grad():
        made = ready(replace(copy.deepcopy(batch), targets=None))
    values: Tensor = made.logits if isinstance(made, Outputs) else made
    return values.double()


def trained_output(module: nn.Module, batch: Batch, task: Task, *, seed: int = 0, still: bool = False) -> Outputs:
    """What a copy of the module makes of a batch, with the targets that it has, in training mode.

    Args:
        still: innermost modules, such as dropout and batch normalisation, are in evaluation mode.
    """
    ready = copy.deepcopy(module).train()
    for inner in ready.modules() if still else ():
        inner.training = any(True for _ in inner.children())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return forward(ready, copy.deepcopy(batch), task)


def tolerance(values: Floats) -> float:
    """What float32 arithmetic may move a risk or a logit, with room to spare."""
    return float(1e-5 * max(1.0, np.abs(values).max(initial=0.0)) + 1e-4 * np.ptp(values))


def largest_difference(a: Floats, b: Floats) -> float:
    """NaN where only one of them is a number counts as infinite."""
    apart = np.abs(np.asarray(a) - np.asarray(b))
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


def cases_to_attend(trial: Trial) -> list[CaseSet]:
    """The complete test cases; of a model that takes such cases, the same with the first modality hidden from half."""
    complete = trial.test.without_targets()
    if trial.fitted.model.missing != "native" or len(trial.modalities) < 2:
        return [complete]
    hidden = {id_: frozenset(trial.modalities[:1]) for id_ in complete.ids[::2]}
    return [complete, CaseSet(complete.cases, complete.specs, None, complete.prepare, hidden)]
