"""What is predicted: survival, progression and response."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionbench import ClassTarget, DataError, SurvivalTarget

if TYPE_CHECKING:
    import pandas as pd

Target = SurvivalTarget | ClassTarget
DAYS_PER_MONTH = 365.25 / 12
CLASSES = ("no response", "response")
"""The second is the positive one."""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint.

    Attributes:
        title: for headings.
        columns: event and time, or the class (1 = the positive one).
        classes: none for survival.
    """

    title: str
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()


ENDPOINTS: Mapping[str, Endpoint] = {
    "os": Endpoint("overall survival", ("OS_Event", "OS_Months")),
    "pfs": Endpoint("progression-free survival", ("PFS_Event", "PFS_Months")),
    "response": Endpoint("response to immunotherapy", ("Response",), CLASSES),
}


def read_targets(table: pd.DataFrame, endpoint: Endpoint, where: str, *, days: bool) -> dict[int, Target]:
    """Patient to target, of the patients who have the endpoint.

    Args:
        table: indexed by patient, its columns numeric.
        days: whether times are in days, not in months.

    Raises:
        DataError: a column is not there, an event or response is no 0 or 1, or a time is not above 0.
    """
    lacking = [name for name in endpoint.columns if name not in table.columns]
    if lacking:
        raise DataError(f"{where}: no column {', '.join(lacking)}")
    known = table[table[list(endpoint.columns)].notna().all(axis=1)]
    flag = endpoint.columns[0]
    _refuse(known, ~known[flag].isin((0, 1)), flag, where, "0 and 1 are known")
    if endpoint.classes:
        codes = zip(known.index, known[flag], strict=True)
        return {int(patient): ClassTarget(endpoint.classes[int(code)]) for patient, code in codes}
    time = endpoint.columns[1]
    _refuse(known, ~(known[time] > 0), time, where, "a time above 0 is needed")
    months = known[time] / (DAYS_PER_MONTH if days else 1.0)
    rows = zip(known.index, months, known[flag], strict=True)
    return {int(patient): SurvivalTarget(float(time), bool(event)) for patient, time, event in rows}


def _refuse(table: pd.DataFrame, bad: pd.Series, column: str, where: str, needed: str) -> None:
    if bad.any():
        row = table[bad].iloc[0]
        raise DataError(f"{where}: patient {row.name}: {column} holds {row[column]:g}; {needed}")
