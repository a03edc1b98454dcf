"""A trained torch module as a predictor: logits, predictions, attention, and its state on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from fusionbench.core.attention_map import AttentionMap
from fusionbench.core.errors import FusionBenchError, PluginError, ResultsError
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import State
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.timing import PREDICT, span
from fusionbench.core.types import (
    Attention,
    Batch,
    CaseSet,
    ModalitySpec,
    Outputs,
    Prediction,
    PreparedCase,
    StepPrediction,
    Steps,
    Task,
)
from fusionbench.data.collate import stream
from fusionbench.execution.training.attention_maps import maps_of
from fusionbench.execution.training.outputs import carried_forward, forward, name_of, neighbours_of, reads_targets
from fusionbench.nn.member_weights import MODULE
from fusionbench.tasks import task_kind


class TorchPredictor(Predictor):
    """A trained module.

    Attributes:
        best_epoch: the epoch, as the history counts them, whose weights these are.
        first_epoch: the first one whose weights could be kept.
        validation_loss: validation loss of that epoch; NaN where it is undefined.
        notes: what was out of the ordinary while training, one line each.
        neighbours: of each instance, that the module asks for; 0 = none.
        reads_targets: the module declared it when the predictor was made, before any training.
    """

    def __init__(
        self,
        module: nn.Module,
        task: Task,
        specs: Mapping[str, ModalitySpec],
        *,
        device: torch.device,
        batch_size: int = 32,
        extra: State | None = None,
    ) -> None:
        """`extra`: arrays that predictions need beside the logits; see `Objective.after_training`."""
        self.module, self.task, self.specs = module.to(device), task, specs
        self.device, self.batch_size, self.extra = device, batch_size, dict(extra or {})
        self.best_epoch, self.first_epoch, self.validation_loss = 0, 1, math.nan
        self.notes: tuple[str, ...] = ()
        self.reads_targets = reads_targets(module)
        self.neighbours = neighbours_of(module)
        self._steps: tuple[str, ...] | None = None  # not known before the first batch

    @classmethod
    def restore(
        cls,
        module: nn.Module,
        state: State,
        task: Task,
        specs: Mapping[str, ModalitySpec],
        recipe: TrainRecipe,
        device: torch.device,
    ) -> TorchPredictor:
        """The inverse of `state`, given a module built with the same options, task and specs.

        Raises:
            ResultsError: if the arrays do not fit the module.
        """
        weights = {k.removeprefix(MODULE): torch.tensor(v) for k, v in state.items() if k.startswith(MODULE)}
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ResultsError(f"the stored weights do not fit this model; fit the cell again ({reason})") from None
        extra = {name: array for name, array in state.items() if not name.startswith((MODULE, "fit."))}
        epoch, loss = (float(x) for x in state["fit.epoch_and_loss"])
        predictor = cls(module, task, specs, device=device, batch_size=recipe.eval_batch_size, extra=extra)
        predictor.best_epoch, predictor.validation_loss = int(epoch), loss
        return predictor

    def state(self) -> State:
        arrays = {f"{MODULE}{k}": v.detach().cpu().numpy().copy() for k, v in self.module.state_dict().items()}
        arrays.update(self.extra)
        arrays["fit.epoch_and_loss"] = np.array([self.best_epoch, self.validation_loss], dtype=np.float64)
        return arrays

    def predict(self, cases: CaseSet) -> Prediction:
        """From logits, in float64, as the kind of endpoint has it.

        Raises:
            PluginError: the module's output has the wrong shape.
            FusionBenchError: it is not finite.
        """
        return task_kind(self.task.kind).prediction(cases.ids, self.logits(cases), self.task, self.extra)

    def logits(self, cases: Iterable[PreparedCase]) -> Tensor:
        """(case, n_outputs) float64 on the CPU, in the order of `cases`; all instances seen, no dropout."""
        return self.logits_of(self._stream(cases))

    def logits_of(
        self, batches: Iterable[tuple[list[int], Batch]], seen: Callable[[Sequence[int], Outputs], None] | None = None
    ) -> Tensor:
        """The same of cases that are in batches, each with the positions of its cases.

        Args:
            seen: is told the positions of each batch and all that the module made of it.

        Raises:
            PluginError: the steps of the module are not those of the batch before.
        """
        self.module.eval()
        order: list[int] = []
        ids: list[str] = []
        # An empty first part keeps shape and type where there is no case.
        made = [torch.zeros(0, self.task.n_outputs, dtype=torch.float64, device=self.device)]
        with torch.inference_mode():
            for positions, batch in batches:
                with span(PREDICT):
                    out = forward(self.module, batch, self.task)
                    made.append(self._of_cases(out, len(batch.ids)))
                    self._note_steps(out)
                if seen is not None:
                    seen(positions, out)
                order += positions
                ids += batch.ids
            with span(PREDICT):  # all at once: a GPU is waited for here and not after each batch
                logits = torch.cat(made).cpu()
        _refuse_non_finite(logits, ids, self.module)
        # Batches are formed by length, so that little is padded; here the cases get their order back.
        return logits[np.argsort(order)]

    def _stream(self, cases: Iterable[PreparedCase]) -> Iterator[tuple[list[int], Batch]]:
        return stream(cases, self.specs, self.batch_size, self.device, neighbours=self.neighbours)

    def _of_cases(self, out: Outputs, cases: int) -> Tensor:
        """(case, n_outputs) float64, also where the module predicts parts of cases."""
        logits = out.logits.double()
        return logits if out.parts is None else task_kind(self.task.kind).mean_of_parts(logits, out.parts, cases)

    def _note_steps(self, out: Outputs) -> None:
        """Keep the names of the steps, of which a module has the same in every batch."""
        names = out.step_logits.names if out.step_logits else ()
        if self._steps not in (None, names):
            raise PluginError(f"{name_of(self.module)}: steps are {names}, and {self._steps} in a batch before")
        self._steps = names

    def predict_steps(self, cases: CaseSet) -> Sequence[StepPrediction]:
        """A case that does not take a step is predicted as after the last one that it has taken.

        Raises:
            PluginError: the module's output has the wrong shape, or other steps than before.
            FusionBenchError: logits are not finite.
        """
        if self._steps == ():
            return ()
        order: list[int] = []
        steps: list[Steps] = []

        def seen(positions: Sequence[int], out: Outputs) -> None:
            order.extend(positions)
            steps.extend([out.step_logits] if out.step_logits else [])

        self.logits_of(self._stream(cases), seen)
        if not steps:
            return ()
        own, reached = (values[np.argsort(order)] for values in carried_forward(steps))
        return [self._after(name, own[:, i], reached[:, i], cases.ids) for i, name in enumerate(steps[0].names)]

    def embedding(self, cases: CaseSet) -> Tensor | None:
        """As the module gives it, in the order of `cases`; None where it gives none.

        Raises:
            PluginError: the module's output has the wrong shape.
        """
        order: list[int] = []
        made: list[Tensor] = []

        def seen(positions: Sequence[int], out: Outputs) -> None:
            order.extend(positions)
            made.extend([] if out.embedding is None else [out.embedding.double().cpu()])

        self.logits_of(self._stream(cases), seen)
        return torch.cat(made)[np.argsort(order)] if made else None

    def _after(self, name: str, logits: Tensor, reached: Tensor, ids: Sequence[str]) -> StepPrediction:
        """The prediction of the cases that have reached a step."""
        rows = tuple(reached.nonzero().flatten().tolist())
        shown = tuple(ids[i] for i in rows)
        _refuse_non_finite(logits[reached], shown, self.module)
        made = task_kind(self.task.kind).prediction(shown, logits[reached], self.task, self.extra)
        return StepPrediction(name, rows, made)

    def attention(self, cases: CaseSet) -> Mapping[str, Attention] | None:
        """What the module's `attention` gives, on the CPU; else what follows from its maps; None where it has none.

        Raises:
            PluginError: the weights have the wrong shape.
        """
        attend = getattr(self.module, "attention", None)
        if attend is None:
            return self._overall(self.attention_maps(cases), cases) or None
        self.module.eval()
        rows: dict[str, dict[int, Tensor]] = {}
        with torch.inference_mode():
            for positions, batch in self._stream(cases):
                for name, weights in attend(batch).items():
                    of_batch = self._checked_weights(name, weights, batch)
                    # (item, layer, head), since sequences are padded along their first axis
                    rows.setdefault(name, {}).update(zip(positions, of_batch.movedim(-1, 1), strict=True))
        parts = getattr(self.module, "parts", {})
        return {name: Attention(_padded(mine), parts.get(name, {})) for name, mine in rows.items()}

    def attention_maps(self, cases: CaseSet) -> Mapping[str, AttentionMap]:
        """What the module's `attention_maps` gives, on the CPU; empty where it has none.

        Raises:
            PluginError: a map has another shape than it says.
        """
        if getattr(self.module, "attention_maps", None) is None:
            return {}
        self.module.eval()
        with torch.inference_mode():
            return maps_of(self.module, self._stream(cases))

    def _overall(self, maps: Mapping[str, AttentionMap], cases: CaseSet) -> dict[str, Attention]:
        """Of each modality the first map on its instances or parts, averaged over classes and queries.

        A map is left out that says nothing of a case that has the modality, since the one that asks is missing.
        """
        parts, found = getattr(self.module, "parts", {}), dict[str, Attention]()
        having = [frozenset(case.bags) for case in cases] if maps else []
        for one in maps.values():
            own, weights = parts.get(one.modality, {}), one.overall()
            there = torch.tensor([one.modality in names for names in having])
            if one.item_names == tuple(own) and bool(weights[there].any(dim=-1).all()):
                found.setdefault(one.modality, Attention(weights, own))
        return found

    def _checked_weights(self, name: str, weights: Tensor, batch: Batch) -> Tensor:
        """(case, layer, head, item) float32 on the CPU."""
        parts = getattr(self.module, "parts", {}).get(name, {})
        items = len(parts) or batch.bags[name].mask.shape[1]
        if weights.ndim != 4 or (len(weights), weights.shape[-1]) != (len(batch.ids), items):
            raise PluginError(
                f"{type(self.module).__name__}: attention on {name!r} has shape {tuple(weights.shape)}, expected "
                f"(case, layer, head, item) with {len(batch.ids)} cases and {items} items"
            )
        return weights.float().cpu()


def _padded(rows: Mapping[int, Tensor]) -> Tensor:
    """(item, layer, head) of each case, in their order, to (case, layer, head, item)."""
    return pad_sequence([rows[i] for i in range(len(rows))], batch_first=True).movedim(1, -1)


def _refuse_non_finite(logits: Tensor, ids: Sequence[str], module: nn.Module) -> None:
    bad = ~logits.isfinite().all(dim=1)
    if bool(bad.any()):
        case = ids[int(bad.nonzero()[0])]
        raise FusionBenchError(
            f"{type(module).__name__} gives NaN or inf for case {case!r}: lower train.lr, set train.grad_clip, "
            "or check the module on cases with missing modalities"
        )
