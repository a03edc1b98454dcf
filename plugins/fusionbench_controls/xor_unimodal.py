"""XOR of uni-modal models: each case is predicted from one of the modalities it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fusionbench import (
    CaseSet,
    FitContext,
    Member,
    MemberFit,
    ModalitySpec,
    PluginRef,
    Predictor,
    RestoreContext,
    State,
    SurvivalPrediction,
    Task,
)
from fusionbench_controls.choice import log_ranking, own_cases, ranked_by_auroc, ranked_by_c_index
from fusionbench_controls.class_members import FirstPresentPredictor
from fusionbench_controls.features import Floats, Ints, as_state
from fusionbench_controls.members import (
    Ask,
    MemberOptions,
    OnMembers,
    OnUnimodal,
    common_times,
    rows_with,
    standardised,
    survival_at,
    z_scores,
)


class XorUnimodal(OnUnimodal):
    """One model per modality; a case is predicted by the model of the modality that is there.

    That is all the HEALNet paper says of its comparator in Table 2, where every test case has exactly one. Two things
    are ours. Risks are z-scored by the member's validation risks, since one member's risks are on another scale than
    the next one's and a c-index compares all cases with one another; as in late fusion, so that the two say the same
    of a case with one modality. And where several are there, the member with the highest validation c-index speaks: by
    the c-index and not by the loss, since of a z-score only the order counts; on the cases that have its modality,
    since it is asked about no other. S, a probability whoever says it, is taken as it is; it is None where a member has
    no S. So are the probabilities of classes, of which the member with the highest validation AUROC speaks first.
    """

    name = "xor-unimodal"
    version = "1"
    Options = MemberOptions
    options: MemberOptions

    def models_for(self, spec: ModalitySpec, task: Task) -> Sequence[PluginRef]:
        return (self.options.model_for(spec),)

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Only z-scores and the order of the members are fitted here; logs each member's score and rank.

        Raises:
            DataError: no two validation cases can be compared, so that no member is best.
        """
        fits = self.fits(ctx)
        if ctx.task.classes:
            ranking = ranked_by_auroc(fits, val, self.name)
            log_ranking(ctx, fits, ranking)
            return FirstPresentPredictor(fits, ctx.task.classes, ranking.order)
        ranking = ranked_by_c_index(fits, val, own_cases, self.name)
        log_ranking(ctx, fits, ranking)
        scores = z_scores(fits.values())
        return XorUnimodalPredictor(fits, scores[:, 0], scores[:, 1], ranking.order)

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        if ctx.task.classes:
            return FirstPresentPredictor(self.fits(ctx), ctx.task.classes, state["order"])
        return XorUnimodalPredictor(self.fits(ctx), state["mean"], state["sd"], state["order"])


class XorUnimodalPredictor(OnMembers):
    """Repeats, in z-scores, what the best member says whose modality a case has."""

    def __init__(self, fits: Mapping[Member, MemberFit], mean: Floats, sd: Floats, order: Ints) -> None:
        """`mean`, `sd`: (member,) of the validation risks, in the order of `fits`; `order`: places, the best first."""
        super().__init__(fits)
        self.mean, self.sd, self.order, self.times = mean, sd, order, common_times(fits.values())

    def combined(self, cases: CaseSet, ask: Ask) -> SurvivalPrediction:
        risk, members = np.zeros(len(cases)), list(self.fits)
        survival = None if self.times is None else np.ones((len(cases), len(self.times)))
        waiting = set(range(len(cases)))
        for place in self.order:
            member = members[place]
            rows = [row for row in rows_with(cases, member) if row in waiting]
            if not rows:
                continue
            waiting -= {*rows}
            said = ask(member, rows)
            risk[rows] = standardised(said.risk, self.mean[place], self.sd[place])
            if survival is not None and self.times is not None:
                survival[rows] = survival_at(member, said, self.times)
        return SurvivalPrediction(cases.ids, risk, survival, self.times)

    def state(self) -> State:
        return as_state({"mean": self.mean, "sd": self.sd, "order": self.order})
