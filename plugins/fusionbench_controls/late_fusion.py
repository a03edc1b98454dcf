"""Late fusion: the sum of z-scored risks of one model per modality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from pydantic import field_validator

from fusionbench import (
    CaseSet,
    FitContext,
    FusionModel,
    Member,
    MemberFit,
    ModalitySpec,
    Options,
    PluginError,
    PluginRef,
    Predictor,
    RestoreContext,
    State,
    SurvivalPrediction,
    Task,
)
from fusionbench.survival import interpolate_survival
from fusionbench_controls.features import Floats, as_state

UNIMODAL = "unimodal"


class LateFusionOptions(Options):
    """Which models are fused.

    Attributes:
        member: `unimodal` (PROTOCOLS, controls) is `snn` on a vector and `abmil` on a bag or grid; the name of any
            other model, such as `cox` or `survival-forest`, puts that model on each modality.
    """

    member: str = UNIMODAL

    @field_validator("member")
    @classmethod
    def _readable(cls, member: str) -> str:
        PluginRef.parse(member)
        return member


class LateFusion(FusionModel):
    """One model per modality; a case's risk is the sum of their z-scored risks over the modalities it has.

    Mean and standard deviation come from each member's out-of-sample risks on the validation cases. A missing modality
    adds 0, which is its member's mean. S is the mean of the members' curves (the linear opinion pool of Stone 1961);
    it is None, and metrics of S are undefined, where a member has no S.
    """

    name = "late-fusion"
    version = "1"
    Options = LateFusionOptions
    missing = "native"

    def __init__(self, options: LateFusionOptions) -> None:
        super().__init__(options)
        self.options: LateFusionOptions = options

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        if len(specs) < 2:
            return f"late fusion needs at least two modalities, not {', '.join(specs) or 'none'}"
        return None

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        return [Member(self._model_for(spec), (name,)) for name, spec in specs.items()]

    def _model_for(self, spec: ModalitySpec) -> PluginRef:
        if self.options.member != UNIMODAL:
            return PluginRef.parse(self.options.member)
        return PluginRef("snn" if spec.kind == "vector" else "abmil")

    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Only the z-scores are fitted here; logs each member's validation mean and sd.

        A member without spread (the same risk for all validation cases, or fewer than two of them; logged as sd 0) has
        no z-score and adds 0 to every case.
        """
        fits = self._fits(ctx)
        scores = np.array([_mean_and_sd(fit.validation.risk) for fit in fits.values()])
        for name, (mean, sd) in zip(fits, scores, strict=True):
            ctx.log(0, {f"validation_mean/{name}": float(mean), f"validation_sd/{name}": float(sd)})
        return LateFusionPredictor(fits, scores[:, 0], scores[:, 1])

    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        return LateFusionPredictor(self._fits(ctx), state["mean"], state["sd"])

    def _fits(self, ctx: FitContext | RestoreContext) -> dict[str, MemberFit]:
        return {member.modalities[0]: ctx.member(member) for member in self.members(ctx.task, ctx.specs)}


def _mean_and_sd(risk: Floats) -> tuple[float, float]:
    """Of validation risks; sd is 0 where they differ by no more than a float32 network's rounding."""
    if len(risk) == 0:
        return 0.0, 0.0
    constant = np.ptp(risk) <= 1e-6 * np.abs(risk).max()
    return float(risk.mean()), 0.0 if constant else float(risk.std(ddof=1))


class LateFusionPredictor(Predictor):
    """Sums what the members say; a member is asked about the cases that have its modality only."""

    def __init__(self, fits: Mapping[str, MemberFit], mean: Floats, sd: Floats) -> None:
        """`fits` by modality; `mean` and `sd` (member,) of the validation risks in that order; sd 0 = adds nothing."""
        self.fits, self.mean, self.sd = fits, mean, sd
        self.times = _common_times([fit.validation for fit in fits.values()])

    def predict(self, cases: CaseSet) -> SurvivalPrediction:
        blind = cases.without_targets()
        return self._fused(
            cases, lambda name, rows: self.fits[name].predictor.predict(blind.restrict((name,)).take(rows))
        )

    def predict_validation(self, val: CaseSet) -> SurvivalPrediction:
        """From the members' own out-of-sample predictions."""
        return self._fused(val, lambda name, rows: _pick(self.fits[name].validation, [val.ids[i] for i in rows], name))

    def _fused(self, cases: CaseSet, ask: Callable[[str, list[int]], SurvivalPrediction]) -> SurvivalPrediction:
        """`ask` gives a member's predictions, by modality, on the rows of `cases` that have it."""
        risk, speaking = np.zeros(len(cases)), np.zeros(len(cases))
        pooled = np.zeros((len(cases), 0 if self.times is None else len(self.times)))
        for name, mean, sd in zip(self.fits, self.mean, self.sd, strict=True):
            rows = [i for i, case in enumerate(cases.cases) if name in cases.visible(case)]
            if not rows:
                continue
            said = ask(name, rows)
            risk[rows] += (said.risk - mean) / sd if sd > 0 else 0.0
            speaking[rows] += 1
            if self.times is not None:
                pooled[rows] += _survival_at(said, self.times)
        survival = None if self.times is None else pooled / speaking[:, None]
        return SurvivalPrediction(cases.ids, risk, survival, self.times)

    def state(self) -> State:
        return as_state({"mean": self.mean, "sd": self.sd})


def _common_times(predictions: Iterable[SurvivalPrediction]) -> Floats | None:
    """All times at which some member gives S; None if one gives none."""
    times = [p.times if p.survival is not None else None for p in predictions]
    known = [t for t in times if t is not None and len(t)]
    return np.unique(np.concatenate(known)) if len(known) == len(times) else None


def _survival_at(said: SurvivalPrediction, times: Floats) -> Floats:
    if said.survival is None or said.times is None:
        raise PluginError("late-fusion: a member gave survival curves on validation cases and none on these")
    return interpolate_survival(said.survival, said.times, times)


def _pick(prediction: SurvivalPrediction, ids: Sequence[str], name: str) -> SurvivalPrediction:
    place = {case: i for i, case in enumerate(prediction.ids)}
    unknown = [case for case in ids if case not in place]
    if unknown:
        raise PluginError(f"late-fusion: {unknown[0]!r} has {name!r} but was no validation case of that member")
    rows = [place[case] for case in ids]
    survival = None if prediction.survival is None else prediction.survival[rows]
    return SurvivalPrediction(tuple(ids), prediction.risk[rows], survival, prediction.times)
