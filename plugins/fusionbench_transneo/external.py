"""The external cohorts, ARTemis and PBCP: Supplementary Table 4, under the names of the training cohort's columns.

The table has no mutations, neoantigens or segments, so these patients have no bags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from fusionbench import DataError
from fusionbench_transneo import tables

if TYPE_CHECKING:
    import pandas as pd

SHEET = "Supplementary Table 4"
ID, COHORT = "Donor.ID", "Cohort"
COHORTS: Mapping[str, tuple[str, ...]] = {
    "artemis": ("ARTEMIS",),
    "pbcp": ("PBCP",),
    "external": ("ARTEMIS", "PBCP"),
}
"""Option to the table's names of the cohorts."""

_RENAMED = MappingProxyType(
    {
        "All.TMB": "TMB",
        "HLA.LOH": "LOH.HLA",
        "STAT1.ssgsea.notnorm": "STAT1.ssgsea",
        "GGI.ssgsea.notnorm": "GGI.ssgsea",
        "ESC.ssgsea.notnorm": "ESC.ssgsea",
        "Swanton.PaclitaxelScore": "Taxane.Score",
        "median_lymph_KDE_knn_50": "Digital.pathology.LymphDensity",
    }
)
"""Column of the training cohort to that of the table; the others have one name."""


def read_cohort(table: pd.DataFrame, name: str, where: str) -> pd.DataFrame:
    """The rows of a cohort, in the table's order.

    Args:
        name: a key of COHORTS.

    Raises:
        DataError: a column that is not there, or a cohort that is not known.
    """
    tables.require(table, (ID, COHORT), where)
    unknown = sorted(set(table[COHORT].map(str)) - set(COHORTS["external"]))
    if unknown:
        raise DataError(f"{where}: {COHORT} holds {unknown[0]!r}; {', '.join(COHORTS['external'])} are known")
    return table[table[COHORT].isin(COHORTS[name])]


def read_vectors(table: pd.DataFrame, where: str) -> dict[str, Mapping[str, tables.Floats]]:
    """Modality to patient to (column,), in the order of the training cohort's columns.

    Raises:
        DataError: a column that is not there, a patient twice, or a value that is not known or no number.
    """
    size = {p: float(row[0]) for p, row in tables.read_vectors(table, ("Tumour.size",), where, ID).items()}
    blocks = {"dna": tables.DNA, "rna": tables.RNA, "image": tables.IMAGE}
    published = {name: [_RENAMED.get(column, column) for column in of] for name, of in blocks.items()}
    vectors = {name: tables.read_vectors(table, columns, where, ID) for name, columns in published.items()}
    return {"clinical": tables.read_clinical(table, where, size), **vectors}


def notes(name: str) -> Iterator[str]:
    """What is to be said of a cohort, a line each.

    Args:
        name: a key of COHORTS.
    """
    yield "no mutations, neoantigens or segments: they were published of the training cohort only"
    if name == "external":
        yield "8 % of ARTemis and 43 % of PBCP have pCR: a score of both is in part that of telling the cohorts apart"
    if name != "artemis":
        yield "All.TMB of PBCP is double that of the others: median 158, of ARTemis 66, of the training cohort 73"
