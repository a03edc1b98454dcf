"""What SurvPath publishes beside PORPOISE's tables: further endpoints, stage and grade, per patient."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusionbench import DataError, SurvivalTarget

if TYPE_CHECKING:
    import pandas as pd

STAGES = {"0": 0.0, "I": 1.0, "II": 2.0, "III": 3.0, "IV": 4.0}
GRADES = {"G1": 1.0, "G2": 2.0, "G3": 3.0, "G4": 4.0}
"""Ordinal codes; anything else (N/A, GX) is a missing cell."""


def endpoints_path(cohort: str) -> str:
    return f"survpath/datasets_csv/metadata/tcga_{cohort}.csv"


def stages_path(cohort: str) -> str:
    return f"survpath/datasets_csv/clinical_data/tcga_{cohort}_clinical.csv"


def read_endpoint(data: bytes, endpoint: str, where: str) -> dict[str, SurvivalTarget]:
    """Patient to its target under "dss" (disease-specific survival) or "pfi" (progression-free interval), months.

    Raises:
        DataError: a column is missing, a time is negative or a flag no 0/1, or a patient's rows differ.
    """
    import pandas as pd

    time, censored = f"survival_months_{endpoint}", f"censorship_{endpoint}"
    frame = _frame(data, ("case_id", time, censored), where)
    targets: dict[str, SurvivalTarget] = {}
    for patient, months, flag in zip(frame["case_id"], frame[time], frame[censored], strict=True):
        if pd.isna(months) or pd.isna(flag):
            continue
        if not (_number(months) >= 0 and _number(flag) in (0, 1)):
            raise DataError(f"{where}: patient {patient} has {time} {months!r} and {censored} {flag!r}")
        target = SurvivalTarget(float(months), float(flag) == 0)
        if targets.setdefault(patient, target) != target:
            raise DataError(f"{where}: the rows of patient {patient} differ in {endpoint}")
    return targets


def read_stages(data: bytes, where: str) -> dict[str, tuple[float, float]]:
    """Patient to (stage 0-4, grade 1-4); NaN = missing, or the patient's rows contradict one another.

    Raises:
        DataError: a column is missing.
    """
    frame = _frame(data, ("case_id", "stage", "grade"), where)
    stages, grades = _codes(frame["stage"], STAGES), _codes(frame["grade"], GRADES)
    known: dict[str, tuple[float, float]] = {}
    for patient, stage, grade in zip(frame["case_id"], stages, grades, strict=True):
        before = known.get(patient, (stage, grade))
        known[patient] = (_agreed(before[0], stage), _agreed(before[1], grade))
    return known


def _codes(column: pd.Series, codes: Mapping[str, float]) -> list[float]:
    return [codes.get(str(value), math.nan) for value in column]


def _agreed(one: float, other: float) -> float:
    return one if one == other else math.nan


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan


def _frame(data: bytes, columns: tuple[str, ...], where: str) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_csv(io.BytesIO(data), index_col=0)
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}; it must have the columns of SurvPath's file")
    return frame
