"""TCGA's Clinical Data Resource (CDR): follow-up under four endpoints, stage and grade, for all cohorts."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from fusionbench import DataError, SurvivalTarget
from fusionbench.data.published_files import read_sheets

if TYPE_CHECKING:
    import pandas as pd

PATH = "tcga_cdr/TCGA-CDR-SupplementalTableS1.xlsx"
DAYS_PER_MONTH = 30.44
"""As in PORPOISE's tables, so that overall survival is the same in both."""

_SHEET = "TCGA-CDR"
_ID, _PATHOLOGICAL, _CLINICAL = "bcr_patient_barcode", "ajcc_pathologic_tumor_stage", "clinical_stage"
_GRADE, _REDACTION = "histological_grade", "Redaction"
_FOLLOW_UP = ("OS", "DSS", "PFI", "DFI")
_COLUMNS = ("type", _PATHOLOGICAL, _CLINICAL, _GRADE, _REDACTION, *_FOLLOW_UP, *(f"{name}.time" for name in _FOLLOW_UP))

_STAGE = re.compile(r"(?:Stage )?(0|IV|I{1,3})(?:[A-C][12]?)?", re.IGNORECASE)
_STAGES = {"0": 0.0, "I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0}
_GRADES = {"G1": 1.0, "G2": 2.0, "G3": 3.0, "G4": 4.0, "Low Grade": 1.0, "High Grade": 3.0}
"""What is not here (GX, texts in brackets such as [Not Available]) is missing."""

_NOTES = {
    "dss": "disease-specific survival: the cause of death is approximated from the tumour's status at death",
    "pfi": "progression-free interval: preferred to overall survival by the CDR, as follow-up is short",
    "dfi": "disease-free interval: of patients in remission after their first treatment, so chosen after baseline",
}
_EXACT_DSS = {"CESC", "PAAD", "UVM"}
"""Types of which the CDR calls disease-specific survival relatively accurate."""


@lru_cache(maxsize=1)
def read_cdr(data: bytes, where: str) -> pd.DataFrame:
    """The patients' rows by barcode; read once in a process, since the spreadsheet takes seconds.

    Args:
        data: the spreadsheet's bytes.
        where: its name for messages.

    Raises:
        DataError: openpyxl is not installed, a column is not there, or a patient stands twice.
    """
    frame = read_sheets(data, where, (_SHEET,))[_SHEET]
    absent = [name for name in (_ID, *_COLUMNS) if name not in frame.columns]
    if absent:
        raise DataError(f"{where}, {_SHEET}: no column {', '.join(absent)}")
    twice = frame[_ID][frame[_ID].duplicated()]
    if len(twice):
        raise DataError(f"{where}, {_SHEET}: patient {twice.iloc[0]} stands twice")
    return frame.set_index(_ID)[list(_COLUMNS)]


def follow_up(cdr: pd.DataFrame, endpoint: str, where: str) -> dict[str, SurvivalTarget]:
    """Patient to target in months, of the patients with a time above 0 and an event.

    Args:
        cdr: rows of the patients wanted.
        endpoint: "os" (overall survival), "dss" (disease-specific survival), "pfi" (progression-free interval) or "dfi"
            (disease-free interval).

    Raises:
        DataError: a time is negative or an event no 0 or 1.
    """
    event, time = endpoint.upper(), f"{endpoint.upper()}.time"
    known = cdr[cdr[event].notna() & cdr[time].notna() & (cdr[time] != 0)]
    bad = known[~known[event].isin((0, 1)) | ~(known[time] > 0)]
    if len(bad):
        row = bad.iloc[0]
        raise DataError(f"{where}, {_SHEET}: patient {bad.index[0]} has {event} {row[event]} and {time} {row[time]}")
    rows = zip(known.index, known[time] / DAYS_PER_MONTH, known[event], strict=True)
    return {str(patient): SurvivalTarget(float(months), bool(flag)) for patient, months, flag in rows}


def follow_up_notes(cdr: pd.DataFrame, endpoint: str) -> Iterator[str]:
    """What is to be said of an endpoint other than overall survival, a line each.

    Args:
        cdr: rows of the cohort's patients.
    """
    if endpoint != "dss" or not set(cdr["type"].dropna()) <= _EXACT_DSS:
        yield _NOTES[endpoint]
    other = int(((cdr["OS"] == 1) & (cdr["DSS"] == 0)).sum())
    if endpoint == "dss" and other:
        yield f"{other} of {len(cdr)} patients died of another cause; censored at their death"
    at_once = [patient for patient, days in cdr[f"{endpoint.upper()}.time"].items() if days == 0]
    if at_once:
        yield f"left out, with a follow-up of 0 days: {', '.join(map(str, at_once))}"


def redacted(cdr: pd.DataFrame) -> list[str]:
    """Patients whom the CDR marks as redacted."""
    return [str(patient) for patient in cdr.index[cdr[_REDACTION].notna()]]


def stages(cdr: pd.DataFrame) -> dict[str, float]:
    """Patient to stage, 0 to 4, NaN = missing: the pathological one, or the clinical one where the cohort has no other.

    Args:
        cdr: rows of one cohort's patients.
    """
    for column in (_PATHOLOGICAL, _CLINICAL):
        found = {str(patient): _stage(str(text)) for patient, text in cdr[column].items()}
        if not all(math.isnan(stage) for stage in found.values()):
            return found
    return found


def _stage(text: str) -> float:
    match = _STAGE.fullmatch(text)
    return _STAGES[match[1].upper()] if match else math.nan


def grades(cdr: pd.DataFrame) -> dict[str, float]:
    """Patient to grade, 1 to 4, NaN = missing; where tumours are graded in two steps, low = 1 and high = 3."""
    return {str(patient): _GRADES.get(str(text), math.nan) for patient, text in cdr[_GRADE].items()}
