"""The tables of HANCOCK: which file holds which modality, which columns are codes without order, and the targets."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError, ModalityUse, SurvivalTarget

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FOLDER = "hancock/features"
TABLES: Mapping[str, str] = {
    "clinical": "clinical.csv",
    "pathological": "pathological.csv",
    "blood": "blood.csv",
    "icd": "icd_codes.csv",
    "cell-density": "tma_cell_density.csv",
}
CODES = frozenset(
    {
        "smoking_status",
        "primary_tumor_site",
        "grading",
        "hpv_association_p16",
        "resection_status",
        "resection_status_carcinoma_in_situ",
        "histologic_type",
    }
)
"""Numbers of alphabetical labels without order; "missing" is a label of its own. pT and pN stage, also alphabetical,
are roughly in order and stay numbers."""

DAYS_PER_MONTH = 30.4375
_TIME_AND_EVENT: Mapping[str, tuple[str, str, Mapping[Any, bool]]] = {
    "os": ("days_to_last_information", "survival_status", {"living": False, "deceased": True}),
    "rfs": ("days_to_rfs_event", "rfs_event", {0: False, 1: True}),
}


def read_table(data: bytes, where: str, left_out: Collection[str] = ()) -> tuple[ModalityUse, dict[str, Floats]]:
    """What a table declares, and patient to its row (column,) with NaN for missing cells.

    Args:
        left_out: columns that are no inputs.

    Raises:
        DataError: no `patient_id`, a patient twice, or a cell that is no number.
    """
    frame = read_frame(data, where)
    frame = frame[[name for name in frame.columns if name not in left_out]]
    columns = tuple(frame.columns)
    try:
        values = frame.to_numpy(dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: {error}; every column but patient_id must be numeric") from error
    use = ModalityUse("vector", len(columns), features=columns, categorical=CODES & set(columns))
    return use, dict(zip(frame.index, values, strict=True))


def read_targets(data: bytes, where: str, endpoint: str) -> tuple[dict[str, SurvivalTarget], int]:
    """Patient to target in months, and how many times were clipped to one day.

    "os" counts to death, censored at the last information. "rfs" counts from the first treatment to recurrence,
    metastasis, progress or death; an event before that treatment has a time of 0 or less and is clipped.

    Raises:
        DataError: a column or value that is not as expected.
    """
    time, event, flags = _TIME_AND_EVENT[endpoint]
    frame = read_frame(data, where, (time, event))
    unknown = set(frame[event]) - set(flags)
    if unknown or frame[time].isna().any():
        raise DataError(f"{where}: {event} must be one of {list(flags)} and {time} a number for every patient")
    days = frame[time].to_numpy(dtype=np.float64)
    months = np.maximum(days, 1.0) / DAYS_PER_MONTH
    events = [flags[value] for value in frame[event]]
    targets = {p: SurvivalTarget(float(t), e) for p, t, e in zip(frame.index, months, events, strict=True)}
    return targets, int((days < 1).sum())


def read_frame(data: bytes, where: str, needed: Collection[str] = ()) -> pd.DataFrame:
    """A table by patient.

    Raises:
        DataError: no `patient_id`, a patient twice, or a column that is needed is not there.
    """
    import pandas as pd

    frame = pd.read_csv(io.BytesIO(data), dtype={"patient_id": str})
    if "patient_id" not in frame.columns:
        raise DataError(f"{where}: no column patient_id")
    if frame["patient_id"].duplicated().any():
        twice = frame["patient_id"][frame["patient_id"].duplicated()].iloc[0]
        raise DataError(f"{where}: patient {twice} stands twice")
    missing = sorted(set(needed) - set(frame.columns))
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}")
    return frame.set_index("patient_id")
