"""What the plugins of cohorts leave out, since it was known only later or is the outcome: no input, and what
`data check` finds of it where it is planted back.

It compares one column with the outcome. It cannot find what says less than that: the therapy that was given, what
surgery removed, a relapse before a death, other editions of a stage.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_hancock.dataset import Hancock
from fusionbench_loris import files as of_loris
from fusionbench_loris.cohorts import COHORTS
from fusionbench_loris.dataset import Loris
from fusionbench_tcga import cdr
from fusionbench_tcga.cohorts import Kirp
from fusionbench_transneo.dataset import TransNeo

from fusionbench import Dataset
from fusionbench.data.published_files import read_sheets
from tests.unit.plugins.planted import found
from tests.unit.plugins.real_cohorts import real_home

pytestmark = pytest.mark.data

UNKNOWN = ["[Not Available]", "[Not Applicable]", "[Unknown]", "[Discrepancy]", "[Not Evaluated]"]


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("transneo")


def sheet(path: Path, name: str, id_: str) -> pd.DataFrame:
    """A sheet of a spreadsheet by its column of ids; texts that mean unknown are missing."""
    return read_sheets(path.read_bytes(), str(path), (name,))[name].set_index(id_).replace(UNKNOWN, np.nan)


def inputs(dataset: Dataset) -> set[str]:
    return {name for use in dataset.info().modalities.values() for name in use.features}


def check(
    dataset: Dataset, table: pd.DataFrame, expected: set[str], missed: set[str], modality: str = "clinical"
) -> None:
    """All are no inputs; planted back, those `expected` are found, and no other."""
    names = sorted(expected | missed)
    assert not inputs(dataset) & set(names)
    assert found(dataset, modality, table[names]) == expected


def test_surgery_and_therapy_of_transneo(home: Path) -> None:
    book = home / "transneo/Supplementary_Tables.xlsx"
    response = {"RCB.score", "RCB.category", "pCR.RD"}
    surgery = {"LVI", "Percent.cellularity", "Tumour.dimension.surgery.1", "Tumour.dimension.surgery.2"}
    missed = {"Surgery.type", "Percent.CIS", "Number.of.LN.removed", "Number.of.positive.LN", "Max.LN.met.size"}
    missed |= {"NAT.regimen", "Chemo.cycles", "aHER2.cycles"}
    everyone = TransNeo(TransNeo.Options(cases="all"), home)
    check(everyone, sheet(book, "Supplementary Table 1", "Donor.ID"), response | surgery, missed)
    outside = TransNeo(TransNeo.Options(cohort="external"), home)
    check(outside, sheet(book, "Supplementary Table 4", "Donor.ID"), response, {"Chemo.Cycles", "Chemo.Regimen"})


@pytest.mark.parametrize(
    ("cohort", "endpoint", "expected", "missed"),
    [
        ("non-icb", "os", {"OS0.5yr", "OS1yr", "OS2yr", "OS3yr"}, {"LORIS"}),
        ("chowell-train", "os", {"OS_Event", "OS_Months", "PFS_Event"}, {"PFS_Months", "Response"}),
        ("chowell-train", "response", {"PFS_Months", "Response"}, {"OS_Event", "OS_Months", "PFS_Event"}),
    ],
)
def test_score_and_outcomes_of_loris(
    home: Path, cohort: str, endpoint: str, expected: set[str], missed: set[str]
) -> None:
    """The score LORIS is made of the inputs: it leaks nothing of the outcome, and is left out as a prediction."""
    table = sheet(home / of_loris.BOOK, COHORTS[cohort].sheet, "SAMPLE_ID")
    table = table.set_axis([f"{cohort}-{number}" for number in table.index])
    check(Loris(Loris.Options(cohort=cohort, endpoint=endpoint), home), table, expected, missed)


def test_follow_up_and_relapse_of_tcga(home: Path) -> None:
    """KIRP: 40 deaths of 260."""
    expected = {"vital_status", "death_days_to", "last_contact_days_to", "tumor_status", "DSS", "PFI.time"}
    missed = {"cause_of_death", "new_tumor_event_type", "new_tumor_event_site", "new_tumor_event_dx_days_to"}
    missed |= {"treatment_outcome_first_course", "margin_status", "residual_tumor", "PFI"}
    table = sheet(home / cdr.PATH, "TCGA-CDR", "bcr_patient_barcode")
    check(Kirp(Kirp.Options(), home), table, expected, missed)


def test_what_follows_from_the_p16_status_in_hancock(home: Path) -> None:
    """Stages of another edition differ in what they mean, not enough in what they hold: pT is not found."""
    codes = {"hpv_association_p16": str, "grading": str}
    table = pd.read_csv(home / "hancock/features/pathological.csv", dtype={"patient_id": str, **codes})
    dataset = Hancock(Hancock.Options(endpoint="hpv"), home)
    check(dataset, table.set_index("patient_id"), {"hpv_association_p16", "grading", "pN_stage"}, {"pT_stage"})


def test_outcomes_of_hancock(home: Path) -> None:
    table = pd.read_csv(home / "hancock/features/targets.csv", dtype={"patient_id": str}).set_index("patient_id")
    expected = {"survival_status", "survival_status_with_cause", "days_to_last_information", "rfs_event"}
    expected |= {"days_to_rfs_event"}
    check(Hancock(Hancock.Options(), home), table, expected, {"recurrence", "days_to_recurrence"})
