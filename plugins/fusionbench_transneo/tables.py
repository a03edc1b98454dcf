"""The vectors of TransNEO: the clinical, DNA, RNA and image features of the published predictor.

The four lists are those of its training: nothing in them was known only after therapy began. Left out on purpose are
what the surgery showed (residual cancer burden, lymphovascular invasion, dimensions, cellularity, removed lymph nodes),
the response itself, and the therapy with its numbers of cycles.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CLINICAL = (
    "Age.at.diagnosis",
    "Histology",
    "ER.status",
    "HER2.status",
    "LN.at.diagnosis",
    "Grade.pre.chemotherapy",
    "Size.at.diagnosis",
)
DNA = (
    "All.TMB",
    "Coding.TMB",
    "Expressed.NAg",
    "CodingMuts.PIK3CA",
    "CodingMuts.TP53",
    "CIN.Prop",
    "HLA.LOH",
    "HRD.sum",
)
# Of the signature scores the ones that are not scaled by cohort, so that an external cohort can be scored alike.
RNA = (
    "STAT1.ssgsea.notnorm",
    "GGI.ssgsea.notnorm",
    "ESC.ssgsea.notnorm",
    "PGR.log2.tpm",
    "ESR1.log2.tpm",
    "ERBB2.log2.tpm",
    "CytScore.log2",
    "Swanton.PaclitaxelScore",
    "TIDE.Dysfunction",
    "TIDE.Exclusion",
    "Danaher.Mast.cells",
)
IMAGE = ("median_lymph_KDE_knn_50",)

_SIGN = {"NEG": -1.0, "POS": 1.0}
_DUCTAL = {
    "IDC": 1.0,
    "IDC+ILC": 1.0,
    "IDC+MUCINOUS": 1.0,
    "IDC+MICROPAPILLARY": 1.0,
    "ILC": 0.0,
    "IDC+APOCRINE": 1.0,
    "MICROPAPILLARY": 0.0,
    "MEDULLARY": 0.0,
    "APOCRINE": 0.0,
    "MUCINOUS": 0.0,
    "METAPLASTIC": 0.0,
    "OTHER": 0.0,
}
_CODED: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "Histology": ("Histology", _DUCTAL),
    "ER.status": ("ER.status", _SIGN),
    "HER2.status": ("HER2.status", _SIGN),
    "LN.at.diagnosis": ("LN.status.at.diagnosis", _SIGN),
}
"""Column as the predictor names it to that of Supplementary Tables 1 and 4, with the predictor's codes of its texts."""


def by_patient(frame: pd.DataFrame, id_: str, where: str, columns: Collection[str]) -> pd.DataFrame:
    """Some columns of a table, one row a patient.

    Raises:
        DataError: a column that is not there, or a patient twice.
    """
    require(frame, (id_, *columns), where)
    twice = frame[id_][frame[id_].duplicated()]
    if len(twice):
        raise DataError(f"{where}: patient {twice.iloc[0]} stands twice")
    return frame.set_index(id_)[list(columns)]


def require(frame: pd.DataFrame, columns: Collection[str], where: str) -> None:
    """
    Raises:
        DataError: a column that is not there.
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}")


def read_vectors(frame: pd.DataFrame, columns: Collection[str], where: str, id_: str = "Trial.ID") -> dict[str, Floats]:
    """Patient to (column,), NaN for an empty cell.

    Raises:
        DataError: a column that is not there, a patient twice, or a cell that is no number.
    """
    return _rows(by_patient(frame, id_, where, columns), where)


def read_clinical(table: pd.DataFrame, where: str, size: Mapping[str, float]) -> dict[str, Floats]:
    """Patient to (column,) in the order of CLINICAL.

    Args:
        table: Supplementary Table 1 or 4, coded here as the predictor codes it.
        size: patient to tumour size at diagnosis in mm; NaN for others.

    Raises:
        DataError: a column that is not there, a patient twice, or a value that is not known.
    """
    needed = ("Age", "Grade.pre.NAT", *(column for column, _ in _CODED.values()))
    frame = by_patient(table, "Donor.ID", where, needed)
    clinical = frame[["Age", "Grade.pre.NAT"]].set_axis(["Age.at.diagnosis", "Grade.pre.chemotherapy"], axis=1)
    for name, (column, codes) in _CODED.items():
        unknown = sorted(set(frame[column].map(str)) - set(codes))
        if unknown:
            raise DataError(f"{where}: {column} holds {unknown[0]!r}; {', '.join(codes)} are known")
        clinical[name] = frame[column].map(codes)
    clinical["Size.at.diagnosis"] = [size.get(patient, np.nan) for patient in frame.index]
    return _rows(clinical[list(CLINICAL)], where)


def _rows(frame: pd.DataFrame, where: str) -> dict[Any, Floats]:
    try:
        values = frame.to_numpy(dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: {error}; every column must be numeric") from error
    return dict(zip(frame.index, values, strict=True))
