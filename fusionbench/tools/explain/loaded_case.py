"""A stored cell made a predictor again, before one of its test cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import nn

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.interfaces import Predictor
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, CaseSet, Member, PreparedBag, RawBag, Task
from fusionbench.data.cohort import Cohort, read
from fusionbench.execution import evaluate
from fusionbench.execution.fit_context import Context, Fit, Loaded, load_members, make_model, restore_fit
from fusionbench.execution.run_cell import fit_seed, targets_of
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell
from fusionbench.tools.explain.masked_readers import Partly, occludable
from fusionbench.tools.explain.select import Chosen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CHUNK = 1 << 28
"""Bytes of prepared cases that are predicted together: 256 MiB."""
APART = 1e-3
"""What other hardware and other batches may move a risk, as a share of 1 or of the risk."""


class _Untrained(Context):
    """The context of a fit in which a module stays as it was made."""

    def train(self, module: nn.Module, train: CaseSet, val: CaseSet) -> Predictor:
        return TorchPredictor(module, self.task, self.specs, device=self.device, batch_size=self.recipe.eval_batch_size)


@dataclass(frozen=True, eq=False)
class Subject:
    """A case before the model that predicted it in the test fold.

    Attributes:
        fit: the stored cell as a predictor, whose readers take a `Partly`.
        fold_risks: (case,) risks that the cell gave to its test fold.
        risk: of the case, as stored.
    """

    cell: Cell
    cohort: Cohort
    resources: SharedResources
    store: Store
    result: CellResult
    fit: Fit
    case: Case
    fold_risks: Floats
    risk: float

    @classmethod
    def load(cls, chosen: Chosen, store: Store, resources: SharedResources, suite: str) -> Subject:
        """Reload a cell; nothing is trained.

        Raises:
            ResultsError: its weights cannot be read, or it no longer gives the stored risk.
            SuiteError: the case has none of the modalities.
        """
        cell = chosen.cell
        cohort = occludable(resources.cohort_of(cell))
        result = store.load(cell.key)
        fit = restore_fit(
            result, cohort, resources.registry, resources.device, store.load, Member(cell.chosen, cell.modalities)
        )
        stored = next(p.prediction for p in result.predictions if (p.split, p.pattern) == ("test", "full"))
        case = replace(next(c for c in cohort.cases if c.id == chosen.case), target=None)
        risk = float(stored.risk[stored.ids.index(case.id)])
        subject = cls(cell, cohort, resources, store, result, fit, case, stored.risk, risk)
        if not subject.visible:
            raise SuiteError(
                f"case {case.id!r} has none of {'+'.join(cell.modalities)}: its risk is the training mean, and nothing "
                "is there to explain; take other --modalities"
            )
        subject._same_risk(suite)
        return subject

    def _same_risk(self, suite: str) -> None:
        now = self.asked
        if not abs(now - self.risk) <= APART * max(1.0, abs(self.risk)):
            raise ResultsError(
                f"cell {self.cell.key} gives case {self.case.id!r} a risk of {now:.6g}, and {self.risk:.6g} is stored; "
                f"run it again with: fusionbench run {suite} --rerun --out {self.store.root}"
            )

    @property
    def predictor(self) -> Loaded:
        """The stored model, with its own preprocessing."""
        return cast(Loaded, self.fit.predictor)

    @property
    def visible(self) -> tuple[str, ...]:
        """The row's modalities that the case has."""
        return tuple(name for name in self.cell.modalities if name in self.case.refs)

    @cached_property
    def bags(self) -> Mapping[str, PreparedBag]:
        """What the model sees of the case."""
        return self._case_set([self.case])[0].bags

    @cached_property
    def raw(self) -> Mapping[str, RawBag]:
        """The case's modalities as they are read."""
        return {name: read(self.cohort.modalities[name], self.case) for name in self.visible}

    @property
    def bytes(self) -> int:
        """Of the prepared case."""
        return sum(bag.values.nbytes for bag in self.bags.values())

    @property
    def at_once(self) -> int:
        """How many variants of the case are held in memory together."""
        return max(1, CHUNK // max(self.bytes, 1))

    @cached_property
    def asked(self) -> float:
        """The risk of the case as it is, predicted now."""
        return float(self.risks([self.case])[0])

    def risks(self, cases: Sequence[Case]) -> Floats:
        """(case,) predicted risks, a few cases at a time."""
        parts = [cases[i : i + self.at_once] for i in range(0, len(cases), self.at_once)]
        who = f"model {self.cell.model}"
        made = [evaluate.predict_all(self.fit.predictor, self._case_set(p), self.fit.prior, who)[0] for p in parts]
        return np.concatenate([prediction.risk for prediction in made])

    def contributions(self, name: str, parts: Sequence[Partly]) -> Floats:
        """(part,) risk of the case as it is, minus its risk with a `Partly` for one modality.

        Above 0: what the `Partly` lacks raises the predicted risk.
        """
        if not parts:
            return np.zeros(0)
        changed = [replace(self.case, refs={**self._loaded, name: part}) for part in parts]
        return np.asarray(self.asked - self.risks(changed))

    def modality_contribution(self, name: str) -> float:
        """Risk of the case as it is, minus its risk without the modality; NaN where it has no other modality."""
        if len(self.visible) < 2:
            return float("nan")
        refs = {other: ref for other, ref in self.case.refs.items() if other != name}
        return float(self.asked - self.risks([replace(self.case, refs=refs)])[0])

    @cached_property
    def _loaded(self) -> Mapping[str, RawBag]:
        """Everything as read once, so that a file is not read for each part that is left out."""
        return {**self.case.refs, **{n: Partly(r.values, r.coords, r.shape) for n, r in self.raw.items()}}

    def _case_set(self, cases: Sequence[Case]) -> CaseSet:
        preprocessor = self.predictor.preprocessor
        return CaseSet(tuple(cases), preprocessor.specs, None, preprocessor.prepare)

    def alone(self) -> CaseSet:
        """The case, as the predictor takes it."""
        return self._case_set([self.case])

    def untrained(self, start: int = 0) -> Predictor:
        """The model as it was before training; `start` other than 0 is one of a seed that the cell does not have."""
        cell, about, preprocessor = self.cell, self.result.record["fit"], self.predictor.preprocessor
        edges = tuple(about["edges"])
        task = Task(n_outputs=about["n_outputs"], edges=edges)
        hidden = self.resources.train_mask(cell).hidden
        known = {c.id: c for c in self.cohort.cases}

        def part(ids: Sequence[str]) -> CaseSet:
            seen = [i for i in ids if any(m in known[i].refs and m not in hidden.get(i, ()) for m in cell.modalities)]
            targets = targets_of(self.cohort, seen, edges)
            return CaseSet(tuple(known[i] for i in seen), preprocessor.specs, targets, preprocessor.prepare, hidden)

        seed = fit_seed(cell) if start == 0 else derive(fit_seed(cell), "another start", start)
        members = load_members(cell, self.cohort, self.resources.registry, self.resources.device, self.store.load)
        context = _Untrained(task, preprocessor.specs, seed, self.resources.device, cell.recipe, members)
        with torch.random.fork_rng(devices=[self.resources.device] if self.resources.device.type == "cuda" else []):
            torch.manual_seed(seed)
            return make_model(self.resources.registry, cell.chosen).fit(
                part(cell.split.train), part(cell.split.val), context
            )
