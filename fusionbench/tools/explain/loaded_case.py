"""A test case together with the stored model that predicted it, loaded again from the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from fusionbench.core.cell_result import CellResult
from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.predictor import Predictor
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, CaseSet, Member, PreparedBag, RawBag
from fusionbench.data.cohort import Cohort, read
from fusionbench.execution import evaluate
from fusionbench.execution.evaluate import targets_of
from fusionbench.execution.fit_context import Context, Fit, Loaded, load_members, make_model, restore_fit
from fusionbench.execution.run_cell import fit_seed
from fusionbench.execution.shared import SharedResources
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell
from fusionbench.tasks import task_kind
from fusionbench.tools.explain.masked_readers import MaskedBag, with_masked_readers
from fusionbench.tools.explain.score import ExplainedScore
from fusionbench.tools.explain.select import SelectedCase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BATCH_BYTES = 1 << 28
"""Bytes of prepared cases that are predicted together: 256 MiB."""
TOLERANCE = 1e-3
"""Difference that other hardware or another batch may make to a recomputed score, relative to max(1, |score|)."""


class _UntrainedContext(Context):
    """The context of a fit that returns a module as it was initialised."""

    def train(self, module: nn.Module, train: CaseSet, val: CaseSet) -> Predictor:
        return TorchPredictor(module, self.task, self.specs, device=self.device, batch_size=self.recipe.eval_batch_size)


@dataclass(frozen=True, eq=False)
class LoadedCase:
    """A test case and the stored cell that predicted it in its test fold.

    Attributes:
        cohort: with masked readers, so that a `MaskedBag` may stand for a ref.
        fit: the cell, restored as a predictor.
        case: without its target, which no model may see.
        score: what is explained: the risk, or the log odds of a class.
        fold_scores: (case,) its stored values in the cell's test fold.
        stored_score: its stored value of the case.
    """

    cell: Cell
    cohort: Cohort
    resources: SharedResources
    store: Store
    result: CellResult
    fit: Fit
    case: Case
    score: ExplainedScore
    fold_scores: Floats
    stored_score: float

    @classmethod
    def load(cls, selected: SelectedCase, store: Store, resources: SharedResources) -> LoadedCase:
        """The case with its cell restored; nothing is trained.

        Raises:
            ResultsError: the cell's weights cannot be read, or it no longer predicts the stored score.
            SuiteError: the case has none of the row's modalities.
        """
        cell = selected.cell
        cohort = with_masked_readers(resources.cohort_of(cell))
        result = store.load(cell.key)
        fit = restore_fit(
            result, cohort, resources.registry, resources.device, store.load, Member(cell.chosen, cell.modalities)
        )
        tested = (p.prediction for p in result.predictions if (p.split, p.pattern) == ("test", "full"))
        stored, score = next(tested), selected.score
        case = replace(next(c for c in cohort.cases if c.id == selected.case), target=None)
        scores = score.values(stored)
        own = float(scores[stored.ids.index(case.id)])
        loaded = cls(cell, cohort, resources, store, result, fit, case, score, scores, own)
        if not loaded.visible:
            known = f"its {score.name} {'are' if score.label else 'is'} the training mean"
            raise SuiteError(
                f"case {case.id!r} has none of {'+'.join(cell.modalities)}: {known}, so there is nothing to explain; "
                "choose other --modalities"
            )
        loaded._check_score()
        return loaded

    def _check_score(self) -> None:
        now, stored = self.recomputed_score, self.stored_score
        if not abs(now - stored) <= TOLERANCE * max(1.0, abs(stored)):  # `not <=` also refuses NaN
            again = command(self.store.root, "run", self.store.suite, "--rerun")
            raise ResultsError(
                f"cell {self.cell.key} now predicts a {self.score.name} of {now:.6g} for case {self.case.id!r}, "
                f"but {stored:.6g} is stored; run it again with: {again}"
            )

    @property
    def predictor(self) -> Loaded:
        """The stored model with its own preprocessing."""
        return cast(Loaded, self.fit.predictor)

    @property
    def visible(self) -> tuple[str, ...]:
        """Names of the row's modalities that the case has."""
        return tuple(name for name in self.cell.modalities if name in self.case.refs)

    @cached_property
    def case_set(self) -> CaseSet:
        """The case as a set of one, as predictors take it."""
        return self._case_set([self.case])

    @cached_property
    def prepared(self) -> Mapping[str, PreparedBag]:
        """Modality to the case's values after the cell's preprocessing, before tokens are made of them."""
        bags_alone = replace(self.predictor.preprocessor, preparations=())
        return replace(self.case_set, specs=bags_alone.specs, prepare=bags_alone.prepare)[0].bags

    @cached_property
    def raw(self) -> Mapping[str, RawBag]:
        """Modality to the case's values as they are read; only visible modalities."""
        return {name: read(self.cohort.modalities[name], self.case) for name in self.visible}

    @property
    def prepared_bytes(self) -> int:
        """Size of the prepared case in bytes."""
        return sum(bag.values.nbytes for bag in self.prepared.values())

    @property
    def batch_size(self) -> int:
        """Masked variants of the case that are held in memory together."""
        return max(1, BATCH_BYTES // max(self.prepared_bytes, 1))

    @cached_property
    def recomputed_score(self) -> float:
        """Score of the unmasked case as the restored cell predicts it."""
        return float(self.scores([self.case])[0])

    def scores(self, cases: Sequence[Case]) -> Floats:
        """(case,) predicted scores of variants of the case, `batch_size` at a time."""
        batches = [cases[i : i + self.batch_size] for i in range(0, len(cases), self.batch_size)]
        who = f"model {self.cell.model}"
        predictions = [
            evaluate.predict_all(self.fit.predictor, self._case_set(batch), self.fit.prior, who)[0] for batch in batches
        ]
        return np.concatenate([self.score.values(prediction) for prediction in predictions])

    def contributions(self, modality: str, masked: Sequence[MaskedBag]) -> Floats:
        """(variant,) score of the case minus its score with a modality masked.

        Above 0: what is masked raises the predicted score.

        Args:
            masked: variants of the modality, each with another part masked.
        """
        if not masked:
            return np.zeros(0)
        cases = [replace(self.case, refs={**self._raw_refs, modality: bag}) for bag in masked]
        # The recomputed score, not the stored one: the difference must not hold what other hardware changes in both.
        return np.asarray(self.recomputed_score - self.scores(cases))

    def modality_contribution(self, modality: str) -> float:
        """Score of the case minus its score where the whole modality is missing; NaN where it has no other modality."""
        if len(self.visible) < 2:
            return float("nan")
        refs = {other: ref for other, ref in self.case.refs.items() if other != modality}
        return float(self.recomputed_score - self.scores([replace(self.case, refs=refs)])[0])

    @cached_property
    def _raw_refs(self) -> Mapping[str, Any]:
        """Modality to a ref that holds the values already read, so that no file is read for each masked variant."""
        read = {n: MaskedBag(r.values, r.coords, r.shape, r.piece) for n, r in self.raw.items()}
        return {**self.case.refs, **read}

    def _case_set(self, cases: Sequence[Case]) -> CaseSet:
        preprocessor = self.predictor.preprocessor
        return CaseSet(tuple(cases), preprocessor.specs, None, preprocessor.prepare)

    def untrained(self, start: int = 0) -> Predictor:
        """The cell's model as it was initialised, before training.

        Args:
            start: 0 = with the cell's own seed; others are initialisations with seeds that no cell has.
        """
        cell, fit_record, preprocessor = self.cell, self.result.record["fit"], self.predictor.preprocessor
        task = task_kind(self.cohort.info.task).task_of(fit_record)
        hidden = self.resources.train_mask(cell).hidden
        known = {c.id: c for c in self.cohort.cases}

        # Models may initialise from the data (k-means of patches), so fit is given the very cases that the cell had.
        def fit_cases(ids: Sequence[str]) -> CaseSet:
            seen = [i for i in ids if any(m in known[i].refs and m not in hidden.get(i, ()) for m in cell.modalities)]
            targets = targets_of(self.cohort, seen, task)
            return CaseSet(tuple(known[i] for i in seen), preprocessor.specs, targets, preprocessor.prepare, hidden)

        seed = fit_seed(cell) if start == 0 else derive(fit_seed(cell), "another start", start)
        members = load_members(cell, self.cohort, self.resources.registry, self.resources.device, self.store.load)
        context = _UntrainedContext(
            task,
            preprocessor.specs,
            seed,
            self.resources.device,
            cell.recipe,
            members,
            preparations=preprocessor.preparations,
        )
        # Torch's generator is seeded as `run` seeds it before a fit, and has its former state afterwards.
        with torch.random.fork_rng(devices=[self.resources.device] if self.resources.device.type == "cuda" else []):
            torch.manual_seed(seed)
            return make_model(self.resources.registry, cell.chosen).fit(
                fit_cases(cell.split.train), fit_cases(cell.split.val), context
            )
