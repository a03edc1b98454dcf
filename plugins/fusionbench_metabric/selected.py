"""The expression and copy-number blocks that MDNNMD published: their columns were selected on the labels of all
patients, test patients included. They are read for whoever studies that, and are no evidence of what fusion gives.

The rows have no ids. A row belongs to the patient of the same age (to 0.01 years), Nottingham prognostic index (to
0.001), cohort and side of the tumour; no two patients agree in all four.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

KEY = ("AGE_AT_DIAGNOSIS", "NPI", "COHORT", "LATERALITY")
"""Columns of the table that names patients."""

OUTCOME = (0, 1)
"""Columns of the coded table that are the outcome: living, and not died of the disease; never an input."""

_COHORT, _AGE, _SIDE, _NPI = 3, 4, 5, 6
_WIDTH = 25
_SIDES = {"l": 0, "r": 1}
_NO_SIDE = 2


def read_numbers(data: bytes, where: str) -> Floats:
    """(row, column) of a file of numbers without a header.

    Raises:
        DataError: it is not such a file.
    """
    try:
        return np.loadtxt(io.BytesIO(data), ndmin=2)
    except ValueError as error:
        raise DataError(f"{where}: {' '.join(str(error).split())}; expected numbers in columns") from error


def join(coded: Floats, patients: pd.DataFrame, where: str) -> tuple[str, ...]:
    """The patient of each row.

    Args:
        coded: MDNNMD's table of clinical codes.
        patients: the columns KEY, by patient.

    Raises:
        DataError: a row that fits no patient, or two that fit one.
    """
    if coded.shape[1] != _WIDTH:
        raise DataError(f"{where}: {coded.shape[1]} columns; expected {_WIDTH}")
    known = patients.dropna(subset=["AGE_AT_DIAGNOSIS", "NPI", "COHORT"])
    side = known["LATERALITY"].map(_SIDES).fillna(_NO_SIDE)
    keys = _keys(zip(known["AGE_AT_DIAGNOSIS"], known["NPI"], known["COHORT"], side, strict=True))
    patient_of = dict(zip(keys, map(str, known.index), strict=True))
    found = [patient_of.get(key, "") for key in _keys(coded[:, [_AGE, _NPI, _COHORT, _SIDE]])]
    if len(patient_of) < len(known) or "" in found or len(set(found)) < len(found):
        row = found.index("") if "" in found else next(i for i, p in enumerate(found) if found.count(p) > 1)
        raise DataError(f"{where}: row {row + 1} has not exactly one patient of its age, NPI, cohort and side")
    return tuple(found)


def _keys(rows: Iterable[Any]) -> list[str]:
    return [f"{age:.2f} {npi:.3f} {int(cohort)} {int(side)}" for age, npi, cohort, side in rows]


def read_block(data: bytes, patients: tuple[str, ...], where: str) -> dict[str, Floats]:
    """Patient to (column,) of a block of the same rows.

    Raises:
        DataError: another number of rows.
    """
    values = read_numbers(data, where)
    if len(values) != len(patients):
        raise DataError(f"{where}: {len(values)} rows; the clinical codes have {len(patients)}")
    return dict(zip(patients, values, strict=True))
