"""Late fusion: the sum of z-scored risks of one model per modality."""

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
from fusionbench_controls.class_members import MeanLogitsPredictor
from fusionbench_controls.features import Floats, as_state
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


class LateFusion(OnUnimodal):
    """One model per modality; a case's risk is the sum of their z-scored risks over the modalities it has.

    Mean and standard deviation come from each member's out-of-sample risks on the validation cases. A missing modality
    adds 0, which is its member's mean. S is the mean of the members' curves (the linear opinion pool of Stone 1961);
    it is None, and metrics of S are undefined, where a member has no S.

    Of classes, the logarithms of the members' probabilities are averaged over the modalities that a case has (the
    logarithmic opinion pool), and brought back to a sum of 1.
    """

    name = "late-fusion"
    version = "1"
    Options = MemberOptions
    options: MemberOptions

    def models_for(self, spec: ModalitySpec, task: Task) -> Sequence[PluginRef]:
        return (self.options.model_for(spec),)

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Only the z-scores are fitted here; logs each member's validation mean and sd.

        A member without spread (the same risk for all validation cases, or fewer than two of them; logged as sd 0) has
        no z-score and adds 0 to every case.
        """
        fits = self.fits(ctx)
        if ctx.task.classes:
            return MeanLogitsPredictor(fits, ctx.task.classes)
        scores = z_scores(fits.values())
        for member, (mean, sd) in zip(fits, scores, strict=True):
            name = member.modalities[0]
            ctx.log(0, {f"validation_mean/{name}": float(mean), f"validation_sd/{name}": float(sd)})
        return LateFusionPredictor(fits, scores[:, 0], scores[:, 1])

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        if ctx.task.classes:
            return MeanLogitsPredictor(self.fits(ctx), ctx.task.classes)
        return LateFusionPredictor(self.fits(ctx), state["mean"], state["sd"])


class LateFusionPredictor(OnMembers):
    """Sums what the members say."""

    def __init__(self, fits: Mapping[Member, MemberFit], mean: Floats, sd: Floats) -> None:
        """`mean` and `sd`: (member,) of the validation risks, in the order of `fits`; sd 0 = adds nothing."""
        super().__init__(fits)
        self.mean, self.sd, self.times = mean, sd, common_times(fits.values())

    def combined(self, cases: CaseSet, ask: Ask) -> SurvivalPrediction:
        risk, speaking = np.zeros(len(cases)), np.zeros(len(cases))
        pooled = np.zeros((len(cases), 0 if self.times is None else len(self.times)))
        for member, mean, sd in zip(self.fits, self.mean, self.sd, strict=True):
            rows = rows_with(cases, member)
            if not rows:
                continue
            said = ask(member, rows)
            risk[rows] += standardised(said.risk, mean, sd)
            speaking[rows] += 1
            if self.times is not None:
                pooled[rows] += survival_at(member, said, self.times)
        survival = None if self.times is None else pooled / speaking[:, None]
        return SurvivalPrediction(cases.ids, risk, survival, self.times)

    def state(self) -> State:
        return as_state({"mean": self.mean, "sd": self.sd})
