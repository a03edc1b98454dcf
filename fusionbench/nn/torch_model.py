"""The base class that ties a torch module to the training loop; does not load torch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from fusionbench.core.contexts import FitContext, RestoreContext
from fusionbench.core.interfaces import FusionModel
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import State
from fusionbench.core.search_space import Interval, SearchSpace
from fusionbench.core.types import CaseSet, ModalitySpec, Task, TaskName

if TYPE_CHECKING:
    from torch import nn


class TorchModel(FusionModel):
    """A fusion model that is one torch module, trained by the harness with the suite's recipe.

    It takes every kind of endpoint: what the logits mean is the harness's business. Implement `build`; what it returns
    maps a Batch to logits (case, n_outputs), or to `Outputs` with losses of its own. Initialisation may use torch's
    global random numbers: the harness has seeded them. A module may also have

    - `attention(batch)`, which returns modality name to weights (case, layer, head, item) as `Attention` has them,
    - `attention_maps(batch)`, which returns a name of your choice to an `AttentionMap`: with an axis of classes or of
      queries, with raw scores, or a transport plan,
    - `reads_targets = True`, which puts the targets into training batches,
    - `parts`, modality name to `Attention.parts`, for vectors that are cut into items, and
    - `notes`, lines for the reader of the results (a feature group that is empty and was left out).
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("survival", "binary", "multiclass")

    @abstractmethod
    def build(self, task: Task, specs: Mapping[str, ModalitySpec]) -> nn.Module:
        """A module with fresh parameters for these modalities; same `options`, same parameter names."""

    def search_space(self) -> SearchSpace:
        """The recipe's keys, the same for every network; extend it by what is the model's own."""
        return {"train.lr": Interval(1e-4, 3e-3, log=True), "train.l1": Interval(0.0, 5e-4)}

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        return ctx.train(self.build(ctx.task, ctx.specs), train, val)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return ctx.module(self.build(ctx.task, ctx.specs), state)
