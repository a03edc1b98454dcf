"""What of a TCGA cohort is predicted: follow-up, classes of the histology, stage and grade."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusionbench import ClassTarget, DataError, SurvivalTarget
from fusionbench_tcga import cdr
from fusionbench_tcga.table import Table

if TYPE_CHECKING:
    import pandas as pd

Target = SurvivalTarget | ClassTarget
Targets = tuple[Mapping[str, Target], tuple[str, ...]]
"""Patient to target, of the patients who have the endpoint; and what is to be said of them, a line each."""


@dataclass(frozen=True)
class Endpoint:
    """One endpoint.

    Attributes:
        title: for headings.
        classes: of two the second is the positive one; none for survival.
        cohort: the only one that has it; "" = any.
        known: columns of `clinical` that follow from the class by definition; left out of the inputs.
        histology: code of OncoTree in PORPOISE's table to class; patients of other codes are left out.
        level: what the CDR says of the tumour, as a number by patient; 3 or more is the positive class.
    """

    title: str
    classes: tuple[str, ...] = ()
    cohort: str = ""
    known: frozenset[str] = frozenset()
    histology: Mapping[str, str] = field(default_factory=dict)
    level: Callable[[pd.DataFrame], dict[str, float]] | None = None


ENDPOINTS: Mapping[str, Endpoint] = {
    "os": Endpoint("overall survival"),
    "dss": Endpoint("disease-specific survival"),
    "pfi": Endpoint("progression-free interval"),
    "dfi": Endpoint("disease-free interval"),
    "stage": Endpoint(
        "stage III or IV, as against 0, I or II",
        ("stage 0-II", "stage III-IV"),
        known=frozenset({"stage"}),
        level=cdr.stages,
    ),
    "grade": Endpoint(
        "high grade (G3 or G4), as against low (G1 or G2)",
        ("low grade", "high grade"),
        known=frozenset({"grade"}),
        level=cdr.grades,
    ),
    "lobular": Endpoint(
        "invasive lobular carcinoma",
        ("ductal", "lobular"),
        cohort="brca",
        known=frozenset({"lobular"}),
        histology={"IDC": "ductal", "ILC": "lobular"},
    ),
    # Serous carcinoma is of high grade by definition.
    "serous": Endpoint(
        "serous endometrial carcinoma",
        ("endometrioid", "serous"),
        cohort="ucec",
        known=frozenset({"grade"}),
        histology={"UEC": "endometrioid", "USC": "serous"},
    ),
}
_HIGH = 3


def of_cohort(cohort: str) -> dict[str, str]:
    """Name to title of each endpoint that a cohort may have."""
    return {name: endpoint.title for name, endpoint in ENDPOINTS.items() if endpoint.cohort in ("", cohort)}


def needs_cdr(name: str) -> bool:
    """Whether the endpoint is read from the CDR, not from PORPOISE's table."""
    return name != "os" and not ENDPOINTS[name].histology


def from_table(table: Table, name: str, where: str) -> Targets:
    """Overall survival or classes of the histology, from PORPOISE's table.

    Raises:
        DataError: the table has no column of codes.
    """
    endpoint = ENDPOINTS[name]
    if not endpoint.histology:
        times = {p: SurvivalTarget(float(table.time[r]), bool(table.event[r])) for p, r in table.first.items()}
        return times, ()
    if not table.histology:
        raise DataError(f"{where}: no column oncotree_code, from which {endpoint.title} is told")
    codes = {patient: table.histology[row] for patient, row in table.first.items()}
    known = {p: ClassTarget(endpoint.histology[code]) for p, code in codes.items() if code in endpoint.histology}
    other = f"{len(codes) - len(known)} of {len(codes)} patients are coded neither {' nor '.join(endpoint.classes)}"
    return known, (f"{other}; left out",) if len(known) < len(codes) else ()


def from_cdr(rows: pd.DataFrame, name: str, dataset: str, where: str) -> Targets:
    """Follow-up under another endpoint, or classes by stage or grade, from the CDR.

    Args:
        rows: of the cohort's patients.
        dataset: for messages.

    Raises:
        DataError: the CDR has no value for any patient of the cohort, or a faulty one.
    """
    endpoint = ENDPOINTS[name]
    known: Mapping[str, Target]
    if endpoint.level:
        levels = endpoint.level(rows)
        low, high = endpoint.classes
        known = {p: ClassTarget(high if level >= _HIGH else low) for p, level in levels.items() if level == level}
        notes = []
    else:
        known = cdr.follow_up(rows, name, where)
        notes = list(cdr.follow_up_notes(rows, name))
    if not known:
        raise DataError(f"{where}: no {name} of any patient of {dataset}; choose another endpoint")
    if len(known) < len(rows):
        notes.insert(0, f"{len(rows) - len(known)} of {len(rows)} patients have no {name}; left out")
    return known, tuple(notes)
