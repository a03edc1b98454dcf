"""What of HANCOCK is predicted: survival, recurrence and death by a horizon, and HPV status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import ClassTarget, DataError, SurvivalTarget
from fusionbench_hancock.tables import read_frame, read_targets

if TYPE_CHECKING:
    import pandas as pd

DAYS_PER_YEAR = 365.25
YES_NO = ("no", "yes")


@dataclass(frozen=True)
class Endpoint:
    """What one endpoint is.

    Attributes:
        title: for headings.
        classes: of two the second is the positive one; none for survival.
        horizon: years by which an event counts; 0 where there is none.
        known: columns of the pathological table that know the outcome by construction; left out of the inputs.
    """

    title: str
    classes: tuple[str, ...] = ()
    horizon: int = 0
    known: frozenset[str] = field(default_factory=frozenset)

    @property
    def task(self) -> str:
        """The kind of endpoint."""
        return "binary" if self.classes else "survival"


ENDPOINTS: Mapping[str, Endpoint] = {
    "os": Endpoint("overall survival"),
    "rfs": Endpoint("recurrence-free survival"),
    "recurrence-2y": Endpoint("recurrence within two years", YES_NO, 2),
    "recurrence-3y": Endpoint("recurrence within three years", YES_NO, 3),
    "survival-5y": Endpoint("death within five years", YES_NO, 5),
    # Grading code 3 is "HPV-associated"; pT and pN of p16-positive tumours follow another edition of the staging.
    "hpv": Endpoint(
        "HPV status (p16)",
        ("negative", "positive"),
        known=frozenset({"hpv_association_p16", "grading", "pT_stage", "pN_stage"}),
    ),
}

Target = SurvivalTarget | ClassTarget
P16 = {0: "negative", 2: "positive"}
"""Codes of `hpv_association_p16`; 1 = not tested."""


def read_endpoint(
    name: str, targets: tuple[bytes, str], pathological: tuple[bytes, str]
) -> tuple[dict[str, Target | None], tuple[str, ...]]:
    """Patient to target, None where it is not known; and what to say of it, a line each.

    Args:
        targets, pathological: content and place of the two tables.

    Raises:
        DataError: a column or value that is not as expected.
    """
    endpoint = ENDPOINTS[name]
    if not endpoint.classes:
        followed, clipped = read_targets(*targets, endpoint=name)
        note = f"{clipped} recurrence-free times of 0 days or less, before first treatment: clipped to 1 day"
        return dict(followed), (note,) if clipped else ()
    if name == "hpv":
        return _hpv(*pathological), ("grading, pT and pN are left out: they follow from the p16 status",)
    frame = read_frame(*targets, ("recurrence", "days_to_recurrence", "survival_status", "days_to_last_information"))
    return _by_horizon(frame, endpoint, deaths=name == "survival-5y")


def _hpv(data: bytes, where: str) -> dict[str, Target | None]:
    frame = read_frame(data, where, ("hpv_association_p16",))
    unknown = set(frame["hpv_association_p16"]) - {*P16, 1}
    if unknown:
        raise DataError(f"{where}: hpv_association_p16 holds {min(unknown)}; 0, 1 and 2 are known")
    codes = frame["hpv_association_p16"].items()
    return {patient: ClassTarget(P16[code]) if code in P16 else None for patient, code in codes}


def _by_horizon(
    frame: pd.DataFrame, endpoint: Endpoint, *, deaths: bool
) -> tuple[dict[str, Target | None], tuple[str, ...]]:
    """Whether the event came by the horizon; None where the follow-up without it ended before."""
    horizon, followed = endpoint.horizon * DAYS_PER_YEAR, frame["days_to_last_information"].to_numpy(np.float64)
    died = (frame["survival_status"] == "deceased").to_numpy()
    happened = died if deaths else (frame["recurrence"] == "yes").to_numpy()
    day = followed if deaths else frame["days_to_recurrence"].to_numpy(np.float64)
    yes = happened & (day <= horizon)
    no = ~yes & (followed >= endpoint.horizon * 365)
    labels = np.where(yes, "yes", np.where(no, "no", ""))
    targets: dict[str, Target | None] = {
        patient: ClassTarget(str(label)) if label else None for patient, label in zip(frame.index, labels, strict=True)
    }
    gone = ~yes & ~no
    note = f"{gone.sum()} patients followed for less than {endpoint.horizon} years are left out"
    if not deaths and (gone & died).any():
        note += f", {(gone & died).sum()} of them dead without a recurrence"
    return targets, (f"{note}: who is left was selected by follow-up",)
