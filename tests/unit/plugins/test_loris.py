"""The cohorts of LORIS: counts of the real file (marker data), a made file of the same form, and bad ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_loris import files, overlap, tables
from fusionbench_loris.cohorts import COHORTS
from fusionbench_loris.dataset import Loris

from fusionbench import Case, DataError, SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import discover
from fusionbench.session import Session
from fusionbench.tools.predict_rows import RowRequest
from tests.unit.plugins.real_cohorts import assert_cases_are_read_and_travel, real_home

PUBLISHED = files.sources()
Sheets = dict[str, pd.DataFrame]

COUNTS = {
    "chowell-train": {"os": (964, 621), "pfs": (964, 813), "response": (964, 282)},
    "chowell-test": {"os": (515, 252), "pfs": (515, 420), "response": (515, 127)},
    "msk1": {"os": (453, 273), "pfs": (453, 381), "response": (453, 116)},
    "msk2": {"os": (104, 89), "pfs": (104, 98), "response": (104, 14)},
    "kato": {"os": (35, 17), "pfs": (35, 26), "response": (35, 5)},
    "shim": {"os": (198, 105), "pfs": (198, 157), "response": (198, 61)},
    "vanguri": {"pfs": (127, 103), "response": (127, 34)},
    "ravi": {"os": (306, 160), "pfs": (297, 232), "response": (309, 121)},
    "pradat": {"os": (57, 51), "response": (57, 38)},
    "non-icb": {"os": (841, 293)},
}
"""Cohort to endpoint to patients and events or responses."""

WIDTHS = {
    "chowell-train": {"clinical": 7, "blood": 4, "genomic": 5, "pdl1": 1, "loris": 6},
    "msk1": {"clinical": 5, "blood": 3, "genomic": 2, "pdl1": 1, "loris": 6},
    "kato": {"clinical": 4, "genomic": 2, "loris": 4},
    "shim": {"clinical": 5, "blood": 2, "genomic": 2, "pdl1": 1, "loris": 6},
    "ravi": {"clinical": 6, "genomic": 1, "pdl1": 1, "loris": 4},
    "pradat": {"clinical": 5, "blood": 2, "genomic": 2, "loris": 6},
    "non-icb": {"clinical": 3, "blood": 2, "genomic": 1, "loris": 6},
}

DOCUMENT = (Path(__file__).parents[3] / "docs" / "loris.md").read_text(encoding="utf-8")
EXTERNAL = {"chowell-test": 0.728, "msk1": 0.734, "msk2": 0.664, "shim": 0.633, "ravi": 0.637, "pradat": 0.630}
"""Cohort to the c-index, measured elsewhere, of a ridge Cox model of LORIS' six on overall survival."""


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("loris_icb")


@cache
def loris(home: Path, **options: object) -> Loris:
    """Shared: a dataset reads its file once and changes nothing."""
    return Loris(Loris.Options.model_validate(options), home)


def positive(case: Case) -> bool:
    """Whether the event was observed, or there was a response."""
    return case.target.label == "response" if hasattr(case.target, "label") else case.target.event


@pytest.mark.data
@pytest.mark.parametrize("cohort", COHORTS)
def test_patients_and_events(home: Path, cohort: str) -> None:
    found = {}
    for endpoint in COUNTS[cohort]:
        cases = loris(home, cohort=cohort, endpoint=endpoint).cases()
        found[endpoint] = (len(cases), sum(map(positive, cases)))
    assert found == COUNTS[cohort]
    assert set(loris(home, cohort=cohort, endpoint=endpoint).info().endpoints) == set(COUNTS[cohort])


@pytest.mark.data
def test_ids_are_unique_over_all_cohorts(home: Path) -> None:
    cases = [c for cohort, ends in COUNTS.items() for c in loris(home, cohort=cohort, endpoint=[*ends][-1]).cases()]
    assert len({case.id for case in cases}) == len(cases) == 964 + 515 + 453 + 104 + 35 + 198 + 127 + 309 + 57 + 841
    assert cases[0].id == cases[0].group == "chowell-train-1"


@pytest.mark.data
@pytest.mark.parametrize("cohort", WIDTHS)
def test_columns_of_a_cohort(home: Path, cohort: str) -> None:
    info = loris(home, cohort=cohort, endpoint="os").info()
    assert {name: use.dim for name, use in info.modalities.items()} == WIDTHS[cohort]
    assert not {"LORIS", "OS1yr", "OS_Months", "Response"} & {f for u in info.modalities.values() for f in u.features}


@pytest.mark.data
def test_corrections_of_the_real_file(home: Path) -> None:
    ravi = loris(home, cohort="ravi", endpoint="os")
    times = [case.target.time for case in ravi.cases()]
    assert (min(times), max(times)) == pytest.approx((12 / 30.4375, 2779 / 30.4375))
    for cohort in ("kato", "ravi"):
        assert (
            "Albumin: 3.8 in every patient stands for no measurement: missing"
            in loris(home, cohort=cohort).info().notes
        )
    shim = loris(home, cohort="shim").cases()
    assert sum("blood" not in case.refs for case in shim) == 8
    train = np.stack([case.refs["loris"] for case in loris(home, cohort="chowell-train").cases()])
    assert train.max(axis=0)[[0, 3, 4]].tolist() == [50, 25, 85]
    assert sum("pdl1" not in case.refs for case in loris(home, cohort="chowell-train").cases()) == 747


@pytest.mark.data
def test_patients_of_vanguri_who_are_in_other_cohorts(home: Path) -> None:
    kept = loris(home, cohort="vanguri", endpoint="pfs", overlap=True)
    cases = kept.cases()
    assert (len(cases), sum(map(positive, cases))) == (246, 209)
    matched = {case.id: case.group for case in cases if case.group != case.id}
    new = {case.id for case in loris(home, cohort="vanguri", endpoint="pfs").cases()}
    assert len(matched) == len(set(matched.values())) == 119
    assert new.isdisjoint(matched)
    assert {*new, *matched} == {case.id for case in cases}
    of_id = {
        c.id: c for cohort in ("chowell-train", "chowell-test", "msk1") for c in loris(home, cohort=cohort).cases()
    }
    assert set(matched.values()) <= set(of_id)


@pytest.mark.data
def test_matched_patients_are_alike_and_the_doubled_ratio_is_on_the_scale_of_the_others(home: Path) -> None:
    path = home / files.BOOK
    book = files.read_book(path.read_bytes(), str(path))
    table = {name: tables.read_table(book[cohort.sheet], name) for name, cohort in COHORTS.items()}
    pairs = overlap.of_vanguri().items()
    columns = ["Age", "Sex", "CancerType", "TMB", "OS_Months", "PFS_Months", "Albumin", "NLR", "FCNA"]
    one = table["vanguri"].loc[[patient for patient, _ in pairs], columns].to_numpy()
    other = np.stack([table[cohort].loc[patient, columns] for _, (cohort, patient) in pairs])
    apart = np.abs(one - other)
    assert apart[:, :3].max(axis=0).tolist() == [1, 0, 0]
    assert np.sum(apart[:, 3:] < [0.1, 0.2, 0.2, 0.01, 0.1, 0.01], axis=1).min() >= 3
    ratio = columns.index("NLR")
    assert np.median(other[:, ratio] / one[:, ratio]) == pytest.approx(1.85 / 2, abs=0.005)


@pytest.mark.data
@pytest.mark.parametrize("cohort", COHORTS)
def test_modalities_take_every_case_and_cases_travel(home: Path, cohort: str) -> None:
    assert_cases_are_read_and_travel(loris(home, cohort=cohort, endpoint=next(iter(COUNTS[cohort]))))


@pytest.mark.data
@pytest.mark.slow
def test_controls_on_loris_six_inside_and_on_the_other_cohorts(home: Path, tmp_path: Path) -> None:
    """As measured elsewhere: within one standard deviation in cross-validation, within 0.02 on other cohorts."""
    session = Session(out=tmp_path, device="cpu", registry=discover())
    (survival,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    response = survival.replace('"loris"]\nmodels = ["cox"', '"loris[endpoint=response]"]\nmodels = ["logistic"')
    for name, text, value, sd in (("os", survival, 0.704, 0.023), ("response", response, 0.717, 0.019)):
        (tmp_path / f"{name}.toml").write_text(text)
        assert session.run(str(tmp_path / f"{name}.toml"), track=False).complete
        first = session.table(name).iloc[0]
        assert (first["model"], first["metric"]) == {"os": ("cox", "harrell_c_index")}.get(name, ("logistic", "auroc"))
        assert first["mean"] == pytest.approx(value, abs=sd)
    shown = dict(re.findall(r"^\| `([\w-]+)` .*\| (0\.\d+) \[", DOCUMENT, re.MULTILINE))
    assert set(EXTERNAL) <= set(shown)
    for cohort, value in EXTERNAL.items():
        (row,) = session.predict(RowRequest("os", "cox"), PluginRef.of("loris", cohort=cohort))
        assert row.scores[0].value == pytest.approx(value, abs=0.02), cohort
        assert row.scores[0].value == pytest.approx(float(shown[cohort]), abs=0.002), cohort


def made_sheet(**columns: object) -> pd.DataFrame:
    """Three patients."""
    sheet = {
        "SAMPLE_ID": [1, 2, 12],
        "CancerType": ["NSCLC", "CNS", "Head & Neck"],
        "Age": [40, 90, 60],
        "Sex": [0, 1, 1],
        "Systemic_therapy_history": [1, 1, 1],
        "Albumin": [3.8, 4.0, None],
        "NLR": [6.2, 30.0, 3.0],
        "TMB": [1.0, 2.0, 99.0],
        "FCNA": [None, None, None],
        "OS_Event": [1, 0, 1],
        "OS_Months": [3.0, 6.0, 9.0],
        "PFS_Event": [1, 1, 0],
        "PFS_Months": [2.0, 3.0, None],
        "Response": [1, 0, 0],
    }
    return pd.DataFrame(sheet | columns)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loris]:
    """A cohort of a made file whose checksum is taken for the published one; all cohorts hold the same sheet."""

    def write(sheet: pd.DataFrame, **options: object) -> Loris:
        path = tmp_path / files.BOOK
        path.parent.mkdir(exist_ok=True)
        with pd.ExcelWriter(path) as book:
            for cohort in COHORTS.values():
                sheet.to_excel(book, sheet_name=cohort.sheet, index=False)
        altered = replace(PUBLISHED[files.BOOK], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
        monkeypatch.setattr(files, "sources", lambda: {files.BOOK: altered})
        dataset = Loris(Loris.Options.model_validate(options), tmp_path)
        dataset.info()  # reads the file before another one is written
        return dataset

    return write


def test_a_made_cohort(made: Callable[..., Loris]) -> None:
    dataset = made(made_sheet(), cohort="msk1")
    first, second, third = dataset.cases()
    assert [case.id for case in dataset.cases()] == ["msk1-1", "msk1-2", "msk1-12"]
    assert (first.target.time, first.target.event, second.target.event) == (3.0, True, False)
    uses = dataset.info().modalities
    assert uses["clinical"].features == ("Age", "Sex", "CancerType", "Systemic_therapy_history")
    assert uses["genomic"].features == ("TMB",)  # FCNA is empty
    assert uses["clinical"].level("CancerType", second.refs["clinical"][2]) == "CNS"
    assert second.refs["clinical"].tolist() == [85, 1, 18, 1]  # clipped
    assert second.refs["blood"].tolist() == [4.0, 25.0]
    assert third.refs["genomic"].tolist() == [50]
    assert np.isnan(third.refs["blood"][0])
    notes = dataset.info().notes
    assert "NLR: above 25 in 1 of 3 patients: clipped, as LORIS does" in notes
    assert [
        note for note in notes if note.startswith("not known of any patient: Drug, Stage, BMI, Platelets, HGB, FCNA")
    ]


def test_columns_that_know_the_outcome_are_no_inputs(made: Callable[..., Loris]) -> None:
    """Planted beside the others they change nothing."""
    planted = {"LORIS": [0.9, 0.1, 0.5], "OS0.5yr": [1, 0, None], "OS3yr": [0, 1, 1], "Gene Panel": ["A", "B", "C"]}
    before, after = (made(sheet, cohort="non-icb") for sheet in (made_sheet(), made_sheet(**planted)))
    assert before.info().modalities == after.info().modalities
    for one, other in zip(before.cases(), after.cases(), strict=True):
        assert one.refs.keys() == other.refs.keys()
        assert all(np.array_equal(one.refs[name], other.refs[name], equal_nan=True) for name in one.refs)


def test_a_constant_in_the_place_of_a_blood_value_is_missing(made: Callable[..., Loris]) -> None:
    constants = made(made_sheet(Albumin=[3.8, 3.8, 3.8], NLR=[6.2, 6.2, 6.2]), cohort="kato")
    assert set(constants.info().modalities) == {"clinical", "genomic", "loris"}
    assert constants.info().modalities["loris"].features == ("TMB", "Systemic_therapy_history", "Age", "CancerType")
    assert "NLR: 6.2 in every patient stands for no measurement: missing" in constants.info().notes
    # A constant of the therapy is one: all have had it.
    assert "Systemic_therapy_history" in constants.info().modalities["clinical"].features
    one_differs = made(made_sheet(Albumin=[3.8, 3.8, 3.9]), cohort="kato")
    assert one_differs.info().modalities["blood"].features == ("Albumin", "NLR")


@pytest.mark.parametrize(("endpoint", "days"), [("os", [3, 6, 9]), ("pfs", [2, 3])])
def test_days_that_are_called_months(made: Callable[..., Loris], endpoint: str, days: list[int]) -> None:
    times = {cohort: made(made_sheet(), cohort=cohort, endpoint=endpoint) for cohort in ("ravi", "shim")}
    assert [case.target.time for case in times["shim"].cases()] == days
    assert [case.target.time for case in times["ravi"].cases()] == pytest.approx([day / 30.4375 for day in days])
    note = f"{endpoint.upper()}_Months: holds days; divided by 30.4375"
    assert (note in times["ravi"].info().notes, note in times["shim"].info().notes) == (True, False)


def test_patients_without_the_endpoint_are_left_out_and_counted(made: Callable[..., Loris]) -> None:
    dataset = made(made_sheet(), cohort="shim", endpoint="pfs")
    assert [case.id for case in dataset.cases()] == ["shim-1", "shim-2"]
    assert "1 of 3 patients have no progression-free survival: left out" in dataset.info().notes


def test_responders_are_the_positive_class(made: Callable[..., Loris]) -> None:
    dataset = made(made_sheet(), endpoint="response")
    assert [case.target.label for case in dataset.cases()] == ["response", "no response", "no response"]
    assert dataset.info().classes[1] == "response"


def test_an_overlapping_patient_of_a_made_cohort(made: Callable[..., Loris]) -> None:
    """Patient 12 is on the list, as patient 56 of chowell-train."""
    without, kept = (made(made_sheet(), cohort="vanguri", endpoint="response", overlap=flag) for flag in (False, True))
    assert [case.id for case in without.cases()] == ["vanguri-1", "vanguri-2"]
    assert [case.group for case in kept.cases()] == ["vanguri-1", "vanguri-2", "chowell-train-56"]
    assert any(note.startswith("1 of 3 patients match") and "left out" in note for note in without.info().notes)
    assert any(note.startswith("1 of 3 patients match") and "kept" in note for note in kept.info().notes)
    assert not any("TMB: above" in note for note in without.info().notes)  # it was that of patient 12


REFUSED = [
    ({"cohort": "vanguri"}, "no overall survival (the follow-up of living patients is not in the file)", "pfs"),
    ({"cohort": "pradat", "endpoint": "pfs"}, "no progression-free survival (its columns are empty)", "os"),
    ({"cohort": "non-icb", "endpoint": "response"}, "no response to immunotherapy (the patients had no", "os"),
    ({"cohort": "non-icb", "endpoint": "pfs"}, "no progression-free survival (the patients had no", "os"),
]


@pytest.mark.parametrize(("options", "why", "choice"), REFUSED, ids=lambda value: str(value))
def test_an_endpoint_that_a_cohort_lacks(options: dict[str, str], why: str, choice: str) -> None:
    with pytest.raises(SuiteError) as refused:
        loris(Path("nowhere"), **options)
    assert str(refused.value).startswith(f"loris: cohort={options['cohort']} has {why}")
    assert f"choose endpoint={choice}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_other_refusals() -> None:
    with pytest.raises(SuiteError, match=r"^loris: option overlap belongs to cohort=vanguri, not msk1$"):
        loris(Path("nowhere"), cohort="msk1", overlap=True)
    with pytest.raises(SuiteError, match="no slides"):
        loris(Path("nowhere")).cases("slide")


BAD = [
    ({"SAMPLE_ID": [1, 2, 2]}, "patient 2 stands twice"),
    ({"CancerType": ["NSCLC", "Lung", "CNS"]}, "CancerType holds 'Lung'; Bladder, Breast"),
    ({"TMB": [1, "high", 3]}, "patient 2: TMB holds 'high'; a number is needed"),
    ({"OS_Event": [1, 2, 0]}, "patient 2: OS_Event holds 2; 0 and 1 are known"),
    ({"OS_Months": [1, 0, 5]}, "patient 2: OS_Months holds 0; a time above 0 is needed"),
]


@pytest.mark.parametrize(("columns", "message"), BAD, ids=[next(iter(bad[0])) for bad in BAD])
def test_bad_cells(made: Callable[..., Loris], columns: dict[str, list[object]], message: str) -> None:
    with pytest.raises(DataError, match=rf"AllData\.xlsx, Shim_NSCLC: {re.escape(message)}"):
        made(made_sheet(**columns), cohort="shim").cases()


@pytest.mark.parametrize("column", ["SAMPLE_ID", "CancerType", "OS_Months"])
def test_a_column_that_is_not_there(made: Callable[..., Loris], column: str) -> None:
    with pytest.raises(DataError, match=f"Shim_NSCLC: no column {column}$"):
        made(made_sheet().drop(columns=column), cohort="shim").cases()


def test_the_source_is_pinned_and_asks_for_agreement() -> None:
    (source,) = loris(Path("nowhere")).sources()
    assert source.url.startswith("https://raw.githubusercontent.com/rootchang/LORIS/")
    assert (len(source.sha256), source.size, source.needs_accept) == (64, 839216, True)
    assert "GPL-3.0" in source.terms
    assert "papers" in source.terms
