"""What the TCGA cohorts read from the Clinical Data Resource: made spreadsheets, and the counts of the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fusionbench_tcga import cdr, files, shared
from fusionbench_tcga.cohorts import Brca, Luad, Ucec
from fusionbench_tcga.dataset import Tcga
from fusionbench_tcga.endpoints import ENDPOINTS, from_cdr

from fusionbench import DataError, SuiteError
from fusionbench.core.registry import discover
from fusionbench.data.cohort import Cohort, load_cohort
from tests.unit.plugins.real_cohorts import real_home
from tests.unit.plugins.test_tcga import tcga
from tests.unit.plugins.test_tcga_files import PATIENTS, frame, of_histology, write

STAGES = ["Stage IA", "Stage IIIC2", "I", "IVa", "[Not Available]"]
GRADES = ["G1", "High Grade", "Low Grade", "G4", "GX"]


def made_cdr() -> pd.DataFrame:
    rows: dict[str, Any] = {
        "bcr_patient_barcode": PATIENTS,
        "type": "LUAD",
        "ajcc_pathologic_tumor_stage": STAGES,
        "clinical_stage": "[Not Applicable]",
        "histological_grade": GRADES,
        "Redaction": ["Redacted", *[None] * 4],
        "OS": [1, 1, 0, 0, 1],
        "OS.time": [304.4, 608.8, 30.44, 30.44, 30.44],
        "DSS": [1, 0, 0, 0, None],
        "DSS.time": [304.4, 608.8, 30.44, 30.44, 30.44],
        "PFI": [1, 1, 0, 0, 1],
        "PFI.time": [30.44, 60.88, 30.44, 0, None],
        "DFI": [None] * 5,
        "DFI.time": [None] * 5,
    }
    return pd.DataFrame(rows)


def write_cdr(home: Path, table: pd.DataFrame) -> None:
    path = home / cdr.PATH
    path.parent.mkdir(exist_ok=True)
    table.to_excel(path, sheet_name="TCGA-CDR", index=False)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home in which no checksum is published, so that every file is one's own."""
    monkeypatch.setattr(files, "_published", dict)
    write(tmp_path, frame())
    write_cdr(tmp_path, made_cdr())
    return tmp_path


def luad(home: Path, **options: object) -> Luad:
    return Luad(Luad.Options.model_validate(options), home)


def labels(dataset: Tcga) -> dict[str, str]:
    return {c.id: c.target.label for c in dataset.cases()}


def test_classes_by_stage_and_grade(made: Path) -> None:
    low, high = luad(made, endpoint="stage").info().classes
    by_stage = dict(zip(PATIENTS, (low, high, low, high), strict=False))
    assert labels(luad(made, endpoint="stage")) == by_stage
    assert "1 of 5 patients have no stage; left out" in luad(made, endpoint="stage").info().notes
    low, high = luad(made, endpoint="grade").info().classes
    assert labels(luad(made, endpoint="grade")) == dict(zip(PATIENTS, (low, high, low, high), strict=False))


def test_the_clinical_stage_where_no_patient_has_a_pathological_one(made: Path) -> None:
    table = made_cdr().assign(clinical_stage=STAGES, ajcc_pathologic_tumor_stage="[Not Applicable]")
    write_cdr(made, table)
    assert len(labels(luad(made, endpoint="stage"))) == 4
    table["ajcc_pathologic_tumor_stage"] = ["Stage X", "IS", "I/II NOS", "Stage I", "[Discrepancy]"]
    write_cdr(made, table)
    assert list(labels(luad(made, endpoint="stage"))) == [PATIENTS[3]]


def test_follow_up_in_months(made: Path) -> None:
    dss, pfi = luad(made, endpoint="dss"), luad(made, endpoint="pfi")
    assert [(round(c.target.time, 9), c.target.event) for c in dss.cases()] == [
        (10, True),
        (20, False),
        (1, False),
        (1, False),
    ]
    assert "1 of 5 patients died of another cause; censored at their death" in dss.info().notes
    assert f"marked as redacted by the CDR: {PATIENTS[0]}; kept, as in PORPOISE's table" in dss.info().notes
    assert [(round(c.target.time, 9), c.target.event) for c in pfi.cases()] == [(1, True), (2, True), (1, False)]
    notes = pfi.info().notes
    assert "2 of 5 patients have no pfi; left out" in notes
    assert f"left out, with a follow-up of 0 days: {PATIENTS[3]}" in notes


def test_stage_and_grade_as_inputs_unless_the_class_determines_them(made: Path) -> None:
    cases = luad(made, stage_grade=True).cases()
    np.testing.assert_array_equal(
        [c.refs["clinical"][2:] for c in cases], [[1, 1], [3, 3], [1, 1], [4, 4], [np.nan] * 2]
    )
    for endpoint, left in (("stage", "grade"), ("grade", "stage")):
        info = luad(made, endpoint=endpoint, stage_grade=True).info()
        assert info.modalities["clinical"].features == ("age", "is_female", left)
        assert f"clinical: {endpoint} left out, which the class determines" in info.notes
    codes = dict(zip(PATIENTS, ("UEC", "USC", "UEC", "USC", "UEC"), strict=True))
    serous = of_histology(made, Ucec, codes, endpoint="serous", stage_grade=True)
    assert [c.target.label for c in serous.cases()] == ["endometrioid", "serous"] * 2 + ["endometrioid"]
    assert serous.info().modalities["clinical"].features == ("age", "is_female", "stage")
    assert "clinical: grade left out, which the class determines" in serous.info().notes


def test_a_clinical_set_with_stage_beside_the_one_without(made: Path) -> None:
    plain, both = luad(made), luad(made, clinical_stage=True)
    uses = both.info().modalities
    assert list(uses) == ["clinical", "clinical_stage", "omic"]
    assert uses["clinical"] == plain.info().modalities["clinical"]
    assert uses["clinical_stage"].features == ("age", "is_female", "stage", "grade")
    staged = luad(made, stage_grade=True).cases()
    for case, without, with_ in zip(both.cases(), plain.cases(), staged, strict=True):
        assert case.refs.keys() - {"clinical_stage"} == without.refs.keys()
        np.testing.assert_array_equal(case.refs.get("clinical"), without.refs.get("clinical"))
        np.testing.assert_array_equal(case.refs["clinical_stage"], with_.refs["clinical"])
    left = luad(made, clinical_stage=True, endpoint="stage").info()
    assert left.modalities["clinical_stage"].features == ("age", "is_female", "grade")
    assert "clinical_stage: stage left out, which the class determines" in left.notes


def test_the_set_with_stage_makes_no_other_cohort(made: Path) -> None:
    """Folds and keys of rows on the other modalities stay; a changed CDR changes the modality's checksum alone."""

    def read(**options: object) -> Cohort:
        return load_cohort(luad(made, **options), discover().modalities)

    plain, both = read(), read(clinical_stage=True)
    assert (plain.identity, plain.fingerprint) == (both.identity, both.fingerprint)
    assert both.info.checksums[cdr.PATH] == both.info.modalities["clinical_stage"].checksum
    write_cdr(made, made_cdr().assign(histological_grade="G1"))
    again = read(clinical_stage=True)
    assert again.fingerprint == both.fingerprint
    assert again.info.modalities["clinical_stage"].checksum != both.info.modalities["clinical_stage"].checksum
    by_class = [read(endpoint="stage", clinical_stage=flag) for flag in (False, True)]  # reads the CDR itself
    assert by_class[0].fingerprint != by_class[1].fingerprint
    assert by_class[1].info.modalities["clinical_stage"].checksum == ""


def test_columns_shared_with_metabric(made: Path) -> None:
    codes = dict(zip(PATIENTS, ("IDC", "ILC", "MDLC", "IDC", "ILC"), strict=True))
    brca = of_histology(made, Brca, codes, shared=True)
    with pytest.raises(DataError, match=r"no column CDH1_mut, GATA3_mut, .*, USH2A_mut$"):
        brca.info()
    table = frame().assign(oncotree_code=lambda f: f["case_id"].map(codes))
    for place, gene in enumerate(shared.MUTATIONS):
        table[gene] = table["case_id"].map(lambda patient, place=place: int(PATIENTS.index(patient) == place))
    write(made, table)
    (made / luad(made).table_path).rename(made / brca.table_path)
    (made / "porpoise/datasets_csv/signatures.csv").unlink()  # not needed
    brca = Brca(brca.options, made)
    cases, uses = brca.cases(), brca.info().modalities
    assert {name: use.features for name, use in uses.items()} == {
        "clinical": ("age", "stage", "lobular"),
        "mutations": shared.MUTATIONS,
    }
    np.testing.assert_array_equal(
        [c.refs["clinical"] for c in cases],
        [[np.nan, 1, 0], [60, 3, 1], [60, 1, 0], [60, 4, 0], [60, np.nan, 1]],
    )
    np.testing.assert_array_equal([c.refs["mutations"] for c in cases], np.eye(5, 12))
    lobular = Brca(Brca.Options(shared=True, endpoint="lobular"), made).info()
    assert lobular.modalities["clinical"].features == ("age", "stage")
    assert "clinical: lobular left out, which the class determines" in lobular.notes


def test_shared_belongs_to_brca_and_has_stage(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"^tcga-luad: option shared belongs to tcga-brca; METABRIC is breast cancer$"):
        luad(tmp_path, shared=True)
    with pytest.raises(
        SuiteError, match=r"^tcga-brca: shared=true and stage_grade=true each bring the stage; leave one"
    ):
        Brca(Brca.Options(shared=True, stage_grade=True), tmp_path)
    with pytest.raises(SuiteError, match=r"^tcga-luad: stage_grade=true and clinical_stage=true each bring the stage"):
        luad(tmp_path, stage_grade=True, clinical_stage=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, r"no dfi of any patient of tcga-luad; choose another endpoint$"),
        ({"DFI": 2, "DFI.time": 1}, rf"TCGA-CDR: patient {PATIENTS[0]} has DFI 2 and DFI.time 1"),
        ({"DFI": 1, "DFI.time": -1}, rf"TCGA-CDR: patient {PATIENTS[0]} has DFI 1 and DFI.time -1"),
        ({"bcr_patient_barcode": PATIENTS[0]}, rf"TCGA-CDR: patient {PATIENTS[0]} stands twice"),
    ],
)
def test_spreadsheets_that_cannot_be(made: Path, changes: dict[str, object], message: str) -> None:
    write_cdr(made, made_cdr().assign(**changes))
    with pytest.raises(DataError, match=rf"TCGA-CDR-SupplementalTableS1\.xlsx.*{message}"):
        luad(made, endpoint="dfi").cases()


def test_a_spreadsheet_without_a_column(made: Path) -> None:
    write_cdr(made, made_cdr().drop(columns=["PFI", "Redaction"]))
    with pytest.raises(DataError, match=r"TCGA-CDR: no column Redaction, PFI$"):
        luad(made, endpoint="dss").cases()


@pytest.fixture(scope="module")
def home() -> Path:
    return real_home("tcga_cdr")


@pytest.mark.data
def test_without_the_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "porpoise").symlink_to(home / "porpoise")
    dataset = tcga("ucec", tmp_path, endpoint="grade")
    with pytest.raises(
        DataError, match=r"S1\.xlsx is missing; run: fusionbench data fetch 'tcga-ucec\[endpoint=grade\]'$"
    ):
        dataset.cases()
    wanted = {s.path: s for s in dataset.sources()}[cdr.PATH]
    assert (wanted.needs_accept, wanted.size, wanted.sha256[:8]) == (True, 2750027, "f9324865")


# Stage III or IV, grade 3 or more, events of os, dss, dfi and pfi; each of how many patients.
COUNTS = {
    "blca": ("253/371", "351/371", "169/373", "113/360", "30/174", "159/373"),
    "brca": ("223/934", None, "130/956", "67/938", "72/831", "125/956"),
    "kirp": ("60/235", None, "40/260", "26/256", "24/164", "52/258"),
    "ucec": ("130/480", "273/480", "75/480", "51/480", "48/387", "108/480"),
    "hnsc": ("292/372", "104/404", "197/416", "118/396", "24/99", "173/416"),
}


@pytest.mark.data
@pytest.mark.parametrize("cohort", COUNTS)
def test_counts_of_the_real_file(home: Path, cohort: str) -> None:
    of_tables = {c.id: c.target for c in tcga(cohort, home).cases()}
    where = str(home / cdr.PATH)
    rows = cdr.read_cdr((home / cdr.PATH).read_bytes(), where).loc[list(of_tables)]
    for name, count in zip(("stage", "grade", "dss", "dfi", "pfi"), np.delete(COUNTS[cohort], 2), strict=True):
        if count is None:
            with pytest.raises(DataError, match=f"no {name} of any patient of tcga-{cohort}; choose another endpoint"):
                from_cdr(rows, name, f"tcga-{cohort}", where)
            continue
        positive = ENDPOINTS[name].classes[1:]
        targets = from_cdr(rows, name, f"tcga-{cohort}", where)[0].values()
        assert f"{sum(t.label in positive if positive else t.event for t in targets)}/{len(targets)}" == count, name
    found = cdr.follow_up(rows, "os", where)
    assert f"{sum(t.event for t in found.values())}/{len(found)}" == COUNTS[cohort][2]
    assert {p: t.event for p, t in found.items()} == {p: t.event for p, t in of_tables.items()}
    assert max(abs(found[p].time - t.time) for p, t in of_tables.items()) < 0.005 + 1e-9  # rounded to 0.01 months there
