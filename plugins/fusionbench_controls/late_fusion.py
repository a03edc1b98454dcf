"""Late fusion: the sum of z-scored risks of one model per modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import SerializerFunctionWrapHandler, model_serializer

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
from fusionbench_controls.class_members import MeanLogitsPredictor, temperatures
from fusionbench_controls.features import Floats, as_state
from fusionbench_controls.members import (
    Ask,
    MemberOptions,
    OnMembers,
    OnUnimodal,
    common_times,
    label,
    rows_with,
    standardised,
    survival_at,
    z_scores,
)


class LateFusionOptions(MemberOptions):
    """One model per modality, and how their classes are put on one scale.

    Attributes:
        calibration: "temperature" divides the logits of each member by one number, for which the log loss of its
            validation cases is lowest (Guo et al. 2017), before they are averaged; of classes alone.
    """

    calibration: Literal["none", "temperature"] = "none"

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, plain: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without calibration where it is off, so that the keys of older results stay theirs."""
        later = {"calibration": "none"}
        return {name: value for name, value in plain(self).items() if later.get(name) != value}


class LateFusion(OnUnimodal):
    """One model per modality; a case's risk is the sum of their z-scored risks over the modalities it has.

    Mean and standard deviation come from each member's out-of-sample risks on the validation cases. A missing modality
    adds 0, which is its member's mean. S is the mean of the members' curves (the linear opinion pool of Stone 1961);
    it is None, and metrics of S are undefined, where a member has no S.

    Of classes, the logarithms of the members' probabilities are averaged over the modalities that a case has (the
    logarithmic opinion pool), and brought back to a sum of 1; with `calibration=temperature` after each member's
    temperature scaling.
    """

    name = "late-fusion"
    version = "1"
    Options = LateFusionOptions
    options: LateFusionOptions

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        if self.options.calibration != "none" and not task.classes:
            return (
                f"calibration={self.options.calibration} is for classes; risks are put on one scale by their z-scores"
            )
        return super().skip(task, specs)

    def models_for(self, spec: ModalitySpec, task: Task) -> Sequence[PluginRef]:
        return (self.options.model_for(spec),)

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Only z-scores or temperatures are fitted here; logs each member's validation mean and sd, or its temperature.

        A member without spread (the same risk for all validation cases, or fewer than two of them; logged as sd 0) has
        no z-score and adds 0 to every case.
        """
        fits = self.fits(ctx)
        if ctx.task.classes:
            return self._of_classes(fits, val, ctx)
        scores = z_scores(fits.values())
        for member, (mean, sd) in zip(fits, scores, strict=True):
            name = member.modalities[0]
            ctx.log(0, {f"validation_mean/{name}": float(mean), f"validation_sd/{name}": float(sd)})
        return LateFusionPredictor(fits, scores[:, 0], scores[:, 1])

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        if ctx.task.classes:
            return MeanLogitsPredictor(self.fits(ctx), ctx.task.classes, state.get("temperature"))
        return LateFusionPredictor(self.fits(ctx), state["mean"], state["sd"])

    def _of_classes(self, fits: Mapping[Member, MemberFit], val: CaseSet, ctx: FitContext) -> MeanLogitsPredictor:
        if self.options.calibration == "none":
            return MeanLogitsPredictor(fits, ctx.task.classes)
        found = temperatures(fits, val)
        ctx.log(0, {f"temperature/{label(member)}": float(t) for member, t in zip(fits, found, strict=True)})
        return MeanLogitsPredictor(fits, ctx.task.classes, found)


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
