"""What the harness gives a model while it fits, and how a stored cell becomes a predictor again."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from fusionbench.core.attention_map import AttentionMap
from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.core.interfaces import FusionModel
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import Preparation, State
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.registry import Registry
from fusionbench.core.types import Attention, CaseSet, Member, ModalitySpec, Prediction, StepPrediction, Task
from fusionbench.data.cohort import Cohort
from fusionbench.data.preparations import FittedPreparation
from fusionbench.data.preprocessing import Preprocessor
from fusionbench.execution.evaluate import PRIOR
from fusionbench.execution.preparation import of_fitted, restored
from fusionbench.execution.training.loop import TorchPredictor, train_module
from fusionbench.suites.cell import Cell
from fusionbench.tasks import kind_with

Load = Callable[[str], CellResult]
"""A finished cell by key, with its weights."""

Progress = Callable[[int, int], None]
"""Called with (epoch, epochs) while a model trains."""


@dataclass(frozen=True)
class Fit:
    """A fitted model as the harness keeps it; what `MemberFit` promises."""

    predictor: Predictor
    validation: Prediction
    prior: Prediction
    validation_loss: float


@dataclass
class Context:
    """The FitContext of one cell."""

    task: Task
    specs: Mapping[str, ModalitySpec]
    seed: int
    device: torch.device
    recipe: TrainRecipe
    members: Mapping[Member, Fit]
    progress: Progress | None = None
    history: list[tuple[int, str, str, float]] = field(default_factory=list)
    trained: list[TorchPredictor] = field(default_factory=list)
    preparations: tuple[FittedPreparation, ...] = ()
    epochs_trained: int = 0

    def train(self, module: nn.Module, train: CaseSet, val: CaseSet) -> Predictor:
        """Train a module by the suite's recipe; see `FitContext.train`."""
        predictor = train_module(
            module,
            self.task,
            self.specs,
            train,
            val,
            self.recipe,
            seed=self.seed,
            device=self.device,
            log=self._log_epoch,
            progress=self.progress,
            before=self.epochs_trained,
        )
        self.trained.append(predictor)
        return predictor

    def _log_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self.epochs_trained = epoch
        self.log(epoch, values)

    def member(self, member: Member) -> Fit:
        """A fitted member of the cell.

        Raises:
            PluginError: the model has not declared it.
        """
        return _member(self.members, member)

    def prepared(self, preparation: Preparation) -> State:
        """What a preparation of the cell has made; see `FitContext.prepared`."""
        return of_fitted(self.preparations, preparation)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add quantities of a step to the history; `train/loss` is the quantity `loss` of the split `train`."""
        for name, value in values.items():
            split, _, quantity = name.rpartition("/")
            self.history.append((step, split or "fit", quantity, float(value)))


@dataclass(frozen=True)
class Restore:
    """The RestoreContext of one cell."""

    task: Task
    specs: Mapping[str, ModalitySpec]
    device: torch.device
    members: Mapping[Member, Fit]
    recipe: TrainRecipe
    preparations: tuple[FittedPreparation, ...] = ()

    def module(self, module: nn.Module, state: State) -> Predictor:
        """A trained module as it was stored."""
        return TorchPredictor.restore(module, state, self.task, self.specs, self.recipe, self.device)

    def member(self, member: Member) -> Fit:
        """A restored member of the cell."""
        return _member(self.members, member)

    def prepared(self, preparation: Preparation) -> State:
        """What a preparation had made when the cell was fitted."""
        return of_fitted(self.preparations, preparation)


def _member(members: Mapping[Member, Fit], member: Member) -> Fit:
    if member not in members:
        declared = ", ".join(f"{m.model} on {'+'.join(m.modalities)}" for m in members) or "none"
        asked = f"{member.model} on {'+'.join(member.modalities)}"
        raise PluginError(f"ctx.member: {asked} was not declared by members(); declared: {declared}")
    return members[member]


@dataclass(frozen=True)
class Loaded(Predictor):
    """A restored predictor behind its own preprocessing: predicts on any CaseSet of the same cohort's cases."""

    inner: Predictor
    preprocessor: Preprocessor

    def predict(self, cases: CaseSet) -> Prediction:
        return self.inner.predict(self.own(cases))

    def attention(self, cases: CaseSet) -> Mapping[str, Attention] | None:
        return self.inner.attention(self.own(cases))

    def attention_maps(self, cases: CaseSet) -> Mapping[str, AttentionMap]:
        return self.inner.attention_maps(self.own(cases))

    def embedding(self, cases: CaseSet) -> Tensor | None:
        return self.inner.embedding(self.own(cases))

    def predict_steps(self, cases: CaseSet) -> Sequence[StepPrediction]:
        return self.inner.predict_steps(self.own(cases))

    def own(self, cases: CaseSet) -> CaseSet:
        """The cases as the predictor sees them."""
        return replace(cases, specs=self.preprocessor.specs, prepare=self.preprocessor.prepare)

    def state(self) -> State:
        return self.inner.state()


def make_model(registry: Registry, ref: PluginRef) -> FusionModel:
    """The model of a reference, with its validated options."""
    return registry.model(ref.name)(validate_options(registry, "models", ref))


def load_members(cell: Cell, cohort: Cohort, registry: Registry, device: torch.device, load: Load) -> dict[Member, Fit]:
    """The fitted members of a cell, from their finished cells.

    Raises:
        FusionBenchError: a member failed; says which and why.
    """
    return {m: restore_fit(load(key), cohort, registry, device, load, m) for m, key in cell.members}


def restore_fit(
    result: CellResult, cohort: Cohort, registry: Registry, device: torch.device, load: Load, member: Member
) -> Fit:
    """A finished cell as a predictor with its own preprocessing.

    Raises:
        FusionBenchError: the cell did not finish.
    """
    what = f"{member.model} on {'+'.join(member.modalities)}"
    if result.status != "ok":
        raise FusionBenchError(f"member {what} (cell {result.key}) {result.status}: {result.reason}")
    fit = result.record["fit"]
    inner_members = {
        Member(PluginRef.parse(m["model"]), tuple(m["modalities"])): m["key"] for m in result.record["members"]
    }
    members = {m: restore_fit(load(key), cohort, registry, device, load, m) for m, key in inner_members.items()}
    preprocessor = Preprocessor.restore(result.preprocess, cohort.modalities, registry.modalities)
    model = make_model(registry, member.model)
    kind = kind_with(fit.get("classes", ()))  # the cell's own: a cohort of new patients need not know the endpoint
    task = kind.task_of(fit)
    preprocessor, state = restored(model, task, preprocessor, result.state, result.record.get("preparations", ()))
    if model.missing == "impute":
        preprocessor = preprocessor.imputing()
    recipe = TrainRecipe.model_validate(result.record["recipe"])
    context = Restore(task, preprocessor.specs, device, members, recipe, preprocessor.preparations)
    predictor = Loaded(model.restore(state, context), preprocessor)
    validation = next(p.prediction for p in result.predictions if p.split == "val")
    return Fit(predictor, validation, kind.of_values(PRIOR, fit["prior"]), _number(fit["validation_loss"]))


def _number(stored: float | None) -> float:
    return math.nan if stored is None else stored
