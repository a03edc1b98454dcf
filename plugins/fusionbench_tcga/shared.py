"""What TCGA-BRCA has in common with METABRIC, under the same names and codes as `metabric[shared=true]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError
from fusionbench_tcga.table import CLINICAL, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

COHORT = "brca"
COLUMNS = ("age", "stage", "lobular")
MUTATIONS = tuple(
    f"{gene}_mut"
    for gene in (
        "CDH1",
        "GATA3",
        "KMT2C",
        "MAP3K1",
        "MUC16",
        "NCOR1",
        "PIK3CA",
        "PTEN",
        "RYR2",
        "SYNE1",
        "TP53",
        "USH2A",
    )
)
_LOBULAR = "ILC"


def read_clinical(table: Table, stages: Mapping[str, float], where: str) -> Floats:
    """(row, column) of COLUMNS: age in years, stage 0 to 4, 1 = invasive lobular carcinoma.

    Args:
        stages: patient to stage, NaN = missing.

    Raises:
        DataError: the table has no codes of the histology.
    """
    if not table.histology:
        raise DataError(f"{where}: no column oncotree_code, from which the lobular type is told")
    age = table.clinical[:, CLINICAL.index("age")]
    stage = np.array([stages[patient] for patient in table.patients])
    lobular = np.array([code == _LOBULAR for code in table.histology], dtype=np.float64)
    return np.column_stack([age, stage, lobular])


def read_mutations(table: Table, where: str) -> Floats:
    """(row, gene) 0/1, in the order of MUTATIONS.

    Raises:
        DataError: the table has no column of a gene.
    """
    absent = [name for name in MUTATIONS if name not in table.genes]
    if absent:
        raise DataError(f"{where}: no column {', '.join(absent)}")
    return table.omic[:, [table.genes.index(name) for name in MUTATIONS]]
