"""What of METABRIC is predicted: death of any cause or of the disease, as follow-up or within five years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionbench import ClassTarget, DataError, SurvivalTarget

if TYPE_CHECKING:
    import pandas as pd

DAYS_PER_MONTH = 30.44
"""As in the TCGA cohorts."""

COLUMNS = ("patientId", "time", "event_str")
_DISEASE, _OTHER, _LIVING = "Died of Disease", "Died of Other Causes", "Living"
_HORIZON = 5 * 365.25
_YES_NO = ("no", "yes")


@dataclass(frozen=True)
class Endpoint:
    """One endpoint.

    Attributes:
        title: for headings.
        deaths: texts of `event_str` that are events.
        classes: of two the second is the positive one; none for follow-up.
    """

    title: str
    deaths: tuple[str, ...]
    classes: tuple[str, ...] = ()


ENDPOINTS: Mapping[str, Endpoint] = {
    "os": Endpoint("overall survival", (_DISEASE, _OTHER)),
    "dss": Endpoint("disease-specific survival", (_DISEASE,)),
    "os-5y": Endpoint("death within five years", (_DISEASE, _OTHER), _YES_NO),
    "dss-5y": Endpoint("death of the disease within five years", (_DISEASE,), _YES_NO),
}

Target = SurvivalTarget | ClassTarget
Targets = tuple[Mapping[str, Target | None], tuple[str, ...]]
"""Patient to target, None where it is not known; and what is to be said of them, a line each."""


def read_endpoint(rows: pd.DataFrame, name: str, where: str) -> Targets:
    """
    Args:
        rows: `time` in days and `event_str` of the cohort's patients, by patient.

    Raises:
        DataError: a status that is not known, or a time that is no number of 0 or more.
    """
    endpoint = ENDPOINTS[name]
    known = (_DISEASE, _OTHER, _LIVING)
    bad = rows[~rows["event_str"].isin(known) | ~(rows["time"] >= 0)]
    if len(bad):
        row = bad.iloc[0]
        raise DataError(
            f"{where}: patient {bad.index[0]} has event_str {row['event_str']!r} and time {row['time']}; "
            f"{', '.join(known)} and days of 0 or more are known"
        )
    if endpoint.classes:
        return _by_horizon(rows, endpoint)
    died = rows["event_str"].isin(endpoint.deaths)
    pairs = zip(rows.index, rows["time"] / DAYS_PER_MONTH, died, strict=True)
    competing = int((~died & (rows["event_str"] != _LIVING)).sum())
    note = f"{competing} of {len(rows)} patients died of another cause (competing); censored at their death"
    return {str(p): SurvivalTarget(float(t), bool(e)) for p, t, e in pairs}, (note,) if competing else ()


def _by_horizon(rows: pd.DataFrame, endpoint: Endpoint) -> Targets:
    """Whether the death came within five years; None for patients whose follow-up ended before without it."""
    by_then = rows["time"] <= _HORIZON
    yes = by_then & rows["event_str"].isin(endpoint.deaths)
    gone = by_then & ~yes
    targets: dict[str, Target | None] = {
        str(patient): None if left_out else ClassTarget(_YES_NO[died])
        for patient, left_out, died in zip(rows.index, gone, yes, strict=True)
    }
    living = int((gone & (rows["event_str"] == _LIVING)).sum())
    parts = [f"{living} of {len(rows)} patients, living when last seen before five years"]
    if int(gone.sum()) > living:
        parts.append(f"{int(gone.sum()) - living} who died of another cause before")
    return targets, (f"left out: {' and '.join(parts)}: who is left was selected by follow-up",)
