"""Endpoints that are classes of the tumour's histology, from the column `oncotree_code` of PORPOISE's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fusionbench import ClassTarget, DataError
from fusionbench_tcga.table import Table


@dataclass(frozen=True)
class Histology:
    """Two kinds of tumour of one cohort.

    Attributes:
        cohort: the only one that has it.
        title: for headings.
        classes: code of OncoTree to class; the second is the positive one. Patients of other codes are left out.
        known: columns of `clinical` that follow from the class by definition.
    """

    cohort: str
    title: str
    classes: Mapping[str, str]
    known: frozenset[str] = frozenset()


ENDPOINTS: Mapping[str, Histology] = {
    "lobular": Histology("brca", "invasive lobular carcinoma", {"IDC": "ductal", "ILC": "lobular"}),
    # Serous carcinoma is of high grade by definition.
    "serous": Histology(
        "ucec", "serous endometrial carcinoma", {"UEC": "endometrioid", "USC": "serous"}, frozenset({"grade"})
    ),
}


def read_classes(table: Table, endpoint: Histology, where: str) -> dict[str, ClassTarget]:
    """Patient to class, of the patients whose code is one of the two.

    Raises:
        DataError: the table has no column of codes.
    """
    if not table.histology:
        raise DataError(f"{where}: no column oncotree_code, from which {endpoint.title} is told")
    codes = {patient: table.histology[row] for patient, row in table.first.items()}
    return {patient: ClassTarget(endpoint.classes[code]) for patient, code in codes.items() if code in endpoint.classes}
