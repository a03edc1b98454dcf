"""The published files of METABRIC, and where they come from."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING

from fusionbench import DataError, Source
from fusionbench.data.published_files import read_sources

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "metabric"
PATIENTS, SAMPLES = "data_clinical_patient.txt", "data_clinical_sample.txt"
NODES, SURVIVAL = "metabric_clinical.tsv", "metabric_survival.tsv"
MUTATIONS = "data_mutations_extended.txt"
NAMED = (PATIENTS, SAMPLES, NODES, SURVIVAL, MUTATIONS)
"""Files with a column of patients' ids; the others (of MDNNMD) have none."""

CODED, EXPRESSION, COPY_NUMBER = (
    "METABRIC_clinical_1980.txt",
    "METABRIC_gene_exp_1980.txt",
    "METABRIC_cnv_1980.txt",
)
SELECTED = (CODED, EXPRESSION, COPY_NUMBER)

_TERMS = (
    "no licence file (default copyright): research use, do not redistribute; METABRIC by way of cBioPortal, cite "
    "Curtis et al., Nature 2012 and Pereira et al., Nature Communications 2016"
)
_REPOSITORIES = ("jmzeng1314/METABRIC", "peterchristofferholm/metabric_data", "USTC-HIlab/MDNNMD")


@cache
def sources() -> Mapping[str, Source]:
    """Place under the data home to source."""
    return read_sources("fusionbench_metabric", dict.fromkeys(_REPOSITORIES, _TERMS))


def read_columns(data: bytes, where: str, columns: Collection[str]) -> pd.DataFrame:
    """Some columns of a tab-separated file; lines that begin with # are comments.

    Args:
        columns: their names, the patients' first.

    Raises:
        DataError: a column is not there.
    """
    import pandas as pd

    lines = [line for line in data.decode("utf-8").splitlines() if not line.startswith("#")]  # some end in \r
    frame = pd.read_csv(io.StringIO("\n".join(lines)), sep="\t", low_memory=False)
    absent = [name for name in columns if name not in frame.columns]
    if absent:
        raise DataError(f"{where}: no column {', '.join(absent)}")
    return frame[list(columns)]


def read_patients(data: bytes, where: str, columns: Collection[str]) -> pd.DataFrame:
    """The same by patient.

    Raises:
        DataError: a column is not there, or a patient stands twice.
    """
    frame = read_columns(data, where, columns)
    id_, *others = columns
    twice = frame[id_][frame[id_].duplicated()]
    if len(twice):
        raise DataError(f"{where}: patient {twice.iloc[0]} stands twice")
    return frame.set_index(id_)[others]
