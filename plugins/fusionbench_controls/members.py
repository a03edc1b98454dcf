"""Models built on uni-modal members: naming the members, predicting with them, making their risks comparable."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, model_validator

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
    Prediction,
    Predictor,
    RestoreContext,
    SurvivalPrediction,
    Task,
)
from fusionbench.survival import interpolate_survival
from fusionbench_controls.features import Floats

UNIMODAL = "unimodal"

Ask = Callable[[Member, Sequence[int]], Prediction]
"""What a member says of the cases at some rows, each of which has its modality."""


def _readable(text: str) -> str:
    """The shortest writing of a model's name with its options, so that two writings of one member are one.

    Raises:
        SuiteError: if it cannot be read.
    """
    return str(PluginRef.parse(text))


ModelText = Annotated[str, AfterValidator(_readable)]
"""A model's name, with options where it has some: `snn[dropout=0.5]`."""


def unimodal(spec: ModalitySpec, vector: str = "snn", bag: str = "abmil") -> PluginRef:
    """The model for a kind of modality; a grid is a bag."""
    return PluginRef.parse(vector if spec.kind == "vector" else bag)


class MemberOptions(Options):
    """One model per modality.

    Attributes:
        member: `unimodal` (PROTOCOLS, controls) goes by the kind of a modality, see `vector` and `bag`; the name of any
            other model, such as `cox` or `survival-forest`, puts that model on each modality.
        vector: the model on a vector.
        bag: the model on a bag or grid.

    A name may carry options of its own: `late-fusion[vector="snn[dropout=0.5]"]`.
    """

    member: ModelText = UNIMODAL
    vector: ModelText = "snn"
    bag: ModelText = "abmil"

    @model_validator(mode="after")
    def _one_way(self) -> MemberOptions:
        ignored = sorted({"vector", "bag"} & self.model_fields_set)
        if self.member != UNIMODAL and ignored:
            raise ValueError(
                f"member={self.member} puts one model on every modality; leave out {' and '.join(ignored)}"
            )
        return self

    def model_for(self, spec: ModalitySpec) -> PluginRef:
        return unimodal(spec, self.vector, self.bag) if self.member == UNIMODAL else PluginRef.parse(self.member)


class OnUnimodal(FusionModel):
    """A model built on models of one modality each."""

    missing: ClassVar[Literal["native", "impute"]] = "native"
    tasks: ClassVar[tuple[str, ...]] = ("survival", "binary", "multiclass")

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        if len(specs) < 2:
            name = self.name.replace("-", " ")
            return f"{name} needs at least two modalities, not {', '.join(specs) or 'none'}"
        return None

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        """In the order of `specs`; a model that is named twice for a modality is one member."""
        return list(
            dict.fromkeys(Member(ref, (name,)) for name, spec in specs.items() for ref in self.models_for(spec, task))
        )

    @abstractmethod
    def models_for(self, spec: ModalitySpec, task: Task) -> Sequence[PluginRef]:
        """The models that a modality is given to."""

    def fits(self, ctx: FitContext | RestoreContext) -> dict[Member, MemberFit]:
        """The fitted members, in the order of `members`."""
        return {member: ctx.member(member) for member in self.members(ctx.task, ctx.specs)}


class OnMembers(Predictor):
    """Says what members say; a member is asked about cases that have its modality only."""

    def __init__(self, fits: Mapping[Member, MemberFit]) -> None:
        self.fits = dict(fits)

    def predict(self, cases: CaseSet) -> Prediction:
        blind = cases.without_targets()

        def ask(member: Member, rows: Sequence[int]) -> Prediction:
            return self.fits[member].predictor.predict(blind.restrict(member.modalities).take(rows))

        return self.combined(cases, ask)

    def predict_validation(self, val: CaseSet) -> Prediction:
        """From the members' own out-of-sample predictions."""
        ids = val.ids
        return self.combined(
            val, lambda member, rows: picked(member, self.fits[member].validation, [ids[row] for row in rows])
        )

    @abstractmethod
    def combined(self, cases: CaseSet, ask: Ask) -> Prediction:
        """One prediction per case from what `ask` has members say of some rows."""


def label(member: Member) -> str:
    return f"{member.model} on {'+'.join(member.modalities)}"


def rows_with(cases: CaseSet, member: Member) -> list[int]:
    """Rows of the cases that show the member's modality."""
    return [row for row, case in enumerate(cases.cases) if {*member.modalities} & {*cases.visible(case)}]


def picked(member: Member, prediction: Prediction, ids: Sequence[str]) -> Prediction:
    """The part of a member's validation predictions that is about `ids`.

    Raises:
        PluginError: one of them is not there.
    """
    place = {case: row for row, case in enumerate(prediction.ids)}
    unknown = [case for case in ids if case not in place]
    if unknown:
        has = repr("+".join(member.modalities))
        raise PluginError(f"{label(member)}: {unknown[0]!r} has {has} but was no validation case of that member")
    return prediction.take([place[case] for case in ids])


def z_scores(fits: Iterable[MemberFit]) -> Floats:
    """(member, 2) mean and standard deviation of each member's out-of-sample validation risks.

    The sd is 0 for a member without spread: fewer than two cases, or risks that differ by no more than a float32
    network's rounding.
    """
    return np.array([_mean_and_sd(fit.validation.risk) for fit in fits])


def standardised(risk: Floats, mean: float, sd: float) -> Floats:
    """(case,) z-scores, by which risks of different models are compared; 0 where there was no spread."""
    return (risk - mean) / sd if sd > 0 else np.zeros(len(risk))


def _mean_and_sd(risk: Floats) -> tuple[float, float]:
    if len(risk) == 0:
        return 0.0, 0.0
    constant = np.ptp(risk) <= 1e-6 * np.abs(risk).max()
    return float(risk.mean()), 0.0 if constant else float(risk.std(ddof=1))


def common_times(fits: Iterable[MemberFit]) -> Floats | None:
    """All times at which some member gives S; None if one gives none, since curves of some cases only say nothing."""
    times = [fit.validation.times if fit.validation.survival is not None else None for fit in fits]
    known = [t for t in times if t is not None and len(t)]
    return np.unique(np.concatenate(known)) if len(known) == len(times) else None


def survival_at(member: Member, said: SurvivalPrediction, times: Floats) -> Floats:
    """(case, time) S at `times`.

    Raises:
        PluginError: the member had curves on validation cases and has none now.
    """
    if said.survival is None or said.times is None:
        raise PluginError(f"{label(member)}: gave survival curves on validation cases and none on these")
    return interpolate_survival(said.survival, said.times, times)
