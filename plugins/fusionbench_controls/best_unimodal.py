"""Best uni-modal: of several models of one modality each, the one that validation says is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from fusionbench import (
    CaseSet,
    FitContext,
    Member,
    MemberFit,
    ModalitySpec,
    Options,
    PluginRef,
    Prediction,
    Predictor,
    RestoreContext,
    State,
    SurvivalPrediction,
    Task,
)
from fusionbench.survival import interpolate_survival
from fusionbench_controls.choice import log_ranking, ranked, ranked_by_log_loss
from fusionbench_controls.class_members import filled
from fusionbench_controls.features import as_state
from fusionbench_controls.members import UNIMODAL, Ask, ModelText, OnMembers, OnUnimodal, rows_with, unimodal


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


OF_CLASSES = (UNIMODAL, "logistic", "random-forest")
"""Candidates where classes are predicted and none are named."""


class BestUnimodalOptions(Options):
    """What is chosen from.

    Attributes:
        candidates: models, each put on each modality; `unimodal` is `snn` on a vector and `abmil` on a bag or grid. The
            default is what the suites here list as uni-modal rows, so that no listed uni-modal model is left out of
            what a fusion has to beat; where classes are predicted it is `unimodal`, `logistic` and `random-forest`.
            `best-unimodal[candidates=unimodal]` chooses among networks of one recipe only, by their loss.
    """

    candidates: Annotated[tuple[ModelText, ...], BeforeValidator(_several)] = Field(
        (UNIMODAL, "cox", "survival-forest"), min_length=1
    )


class BestUnimodal(OnUnimodal):
    """The single-modality model that scored best on the validation cases of the fold.

    Chosen by validation loss where every candidate has one, otherwise by validation c-index for all (see `ranked`),
    over all validation cases: one without a candidate's modality counts with that candidate's prior, which is what it
    gets at test. Risk and S are the chosen one's own; a case without its modality gets its prior. Of classes, the
    candidate with the lowest log loss on all validation cases is chosen.
    """

    name = "best-unimodal"
    version = "1"
    Options = BestUnimodalOptions
    options: BestUnimodalOptions

    def models_for(self, spec: ModalitySpec, task: Task) -> Sequence[PluginRef]:
        asked = "candidates" in self.options.model_fields_set or not task.classes
        named = self.options.candidates if asked else OF_CLASSES
        return [unimodal(spec) if text == UNIMODAL else PluginRef.parse(text) for text in named]

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Only the choice is made here; logs each candidate's score and rank.

        Raises:
            DataError: by c-index, and no two validation cases can be compared.
        """
        fits = self.fits(ctx)
        ranking = ranked_by_log_loss(fits, val) if ctx.task.classes else ranked(fits, val, self.name)
        log_ranking(ctx, fits, ranking)
        return BestUnimodalPredictor(fits, int(ranking.order[0]))

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return BestUnimodalPredictor(self.fits(ctx), int(state["chosen"][0]))


class BestUnimodalPredictor(OnMembers):
    """Repeats what the chosen member says."""

    def __init__(self, fits: Mapping[Member, MemberFit], chosen: int) -> None:
        """`chosen`: place of the chosen member in `fits`."""
        super().__init__(fits)
        self.chosen = chosen
        self.member = list(self.fits)[chosen]

    def combined(self, cases: CaseSet, ask: Ask) -> Prediction:
        prior, rows = self.fits[self.member].prior, rows_with(cases, self.member)
        if prior.classes:
            return filled(prior, cases, rows, ask(self.member, rows) if rows else None)
        said = ask(self.member, rows) if rows else prior
        risk = np.repeat(prior.risk, len(cases))
        if rows:
            risk[rows] = said.risk
        if said.survival is None or said.times is None or prior.survival is None or prior.times is None:
            return SurvivalPrediction(cases.ids, risk)
        survival = np.repeat(interpolate_survival(prior.survival, prior.times, said.times), len(cases), axis=0)
        if rows:
            survival[rows] = said.survival
        return SurvivalPrediction(cases.ids, risk, survival, said.times)

    def state(self) -> State:
        return as_state({"chosen": np.array([self.chosen], dtype=np.int64)})
