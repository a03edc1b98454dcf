"""The clinical columns of METABRIC that were known at diagnosis and surgery, from the tables that name patients.

Left out on purpose are the therapies (chemotherapy, hormone therapy, radiotherapy), which follow the baseline, the
cohort number, which says where and when a patient was treated, and all that is known of the outcome.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError, ModalityUse
from fusionbench_metabric.files import NODES, PATIENTS, SAMPLES

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """One clinical column.

    Attributes:
        file: that has it.
        source: its name there.
        codes: text to number, NaN for texts that mean unknown; empty where the column holds numbers.
        ordered: the codes have an order, or are two.
    """

    file: str
    source: str
    codes: Mapping[str, float] = field(default_factory=dict)
    ordered: bool = True


def _numbered(*levels: str) -> dict[str, float]:
    return {level: float(number) for number, level in enumerate(levels)}


_UNKNOWN = float("nan")
_SIGN = _numbered("-", "+")
_ONCOTREE = {"ILC": 1.0} | dict.fromkeys(("IDC", "BRCA", "MDLC", "PT", "BREAST", "DCIS"), 0.0)

COLUMNS: Mapping[str, Column] = {
    "age": Column(PATIENTS, "AGE_AT_DIAGNOSIS"),
    "stage": Column(SAMPLES, "TUMOR_STAGE"),
    "lobular": Column(SAMPLES, "ONCOTREE_CODE", _ONCOTREE),
    "grade": Column(SAMPLES, "GRADE"),
    "size_mm": Column(SAMPLES, "TUMOR_SIZE"),
    "positive_nodes": Column(NODES, "LYMPH_NODES_EXAMINED_POSITIVE"),
    "npi": Column(PATIENTS, "NPI"),
    "postmenopausal": Column(PATIENTS, "INFERRED_MENOPAUSAL_STATE", _numbered("pre", "post")),
    "right": Column(PATIENTS, "LATERALITY", _numbered("l", "r")),
    "mastectomy": Column(PATIENTS, "BREAST_SURGERY", _numbered("BREAST CONSERVING", "MASTECTOMY")),
    "cellularity": Column(PATIENTS, "CELLULARITY", _numbered("low", "moderate", "high")),
    "er_ihc": Column(PATIENTS, "ER_IHC", _numbered("neg", "pos")),
    "er": Column(SAMPLES, "ER_STATUS", _SIGN),
    "pr": Column(SAMPLES, "PR_STATUS", _SIGN),
    "her2": Column(SAMPLES, "HER2_STATUS", _SIGN),
    "her2_snp6": Column(PATIENTS, "HER2_SNP6", _numbered("LOSS", "NEUT", "GAIN") | {"UNDEF": _UNKNOWN}),
    "threegene": Column(
        PATIENTS,
        "THREEGENE",
        _numbered("ER+/HER2- Low Prolif", "ER+/HER2- High Prolif", "ER-/HER2-", "HER2+"),
        ordered=False,
    ),
    "subtype": Column(
        PATIENTS,
        "CLAUDIN_SUBTYPE",
        _numbered("LumA", "LumB", "Her2", "claudin-low", "Basal", "Normal") | {"NC": _UNKNOWN},
        ordered=False,
    ),
    "integrative_cluster": Column(
        PATIENTS,
        "INTCLUST",
        _numbered("1", "2", "3", "4ER+", "4ER-", "5", "6", "7", "8", "9", "10"),
        ordered=False,
    ),
}
"""Column to what it is read from. The subtypes were called upstream from expression and copy number."""

SHARED = ("age", "stage", "lobular")
"""Those that `tcga-brca[shared=true]` has under the same names and codes."""


def columns_of(file: str) -> tuple[str, ...]:
    """Names in a file of the columns that are read from it."""
    return tuple(column.source for column in COLUMNS.values() if column.file == file)


def read_clinical(
    tables: Mapping[str, pd.DataFrame], where: Mapping[str, str], *, shared: bool
) -> tuple[ModalityUse, dict[str, Floats]]:
    """What is declared, and patient to (column,), NaN for missing.

    Args:
        tables: file to its rows, those of the cohort's patients in one order.
        where: file to its place, for messages.
        shared: only the columns that TCGA has too.

    Raises:
        DataError: a value that is not known, or no number.
    """
    chosen = {name: column for name, column in COLUMNS.items() if not shared or name in SHARED}
    values = np.column_stack(
        [_numbers(tables[column.file][column.source], column, where[column.file]) for column in chosen.values()]
    )
    unordered = {name: column.codes for name, column in chosen.items() if not column.ordered}
    levels = {name: {code: text for text, code in codes.items() if code == code} for name, codes in unordered.items()}
    use = ModalityUse("vector", len(chosen), features=tuple(chosen), categorical=frozenset(unordered), levels=levels)
    return use, dict(zip(map(str, tables[PATIENTS].index), values, strict=True))


def _numbers(cells: pd.Series, column: Column, where: str) -> Floats:
    import pandas as pd

    known: pd.Series = cells.map(column.codes) if column.codes else pd.to_numeric(cells, errors="coerce")
    odd = cells[
        known.isna() & cells.notna() & ~cells.isin([text for text, code in column.codes.items() if code != code])
    ]
    if len(odd):
        expected = ", ".join(column.codes) or "numbers"
        raise DataError(f"{where}: {column.source} of {odd.index[0]} is {odd.iloc[0]!r}; {expected} are known")
    return known.to_numpy(dtype=np.float64)
