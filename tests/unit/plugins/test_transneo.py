"""TransNEO: the counts of the real files (marker data), made files of the same form, and bad ones."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_transneo import files, tables
from fusionbench_transneo.dataset import TransNeo
from openpyxl import load_workbook

from fusionbench import Case, DataError, SuiteError
from tests.unit.plugins.real_cohorts import assert_cases_are_read_and_travel, real_home

LEAK = re.compile(
    r"RCB|resp\.|pCR|Surgery|LVI|Tumour\.dimension|Percent\.|LN\.removed|positive\.LN|Max\.LN|cycles|Chemo\.|regimen"
)
"""Columns of the published tables that surgery showed, or that were known only after therapy began."""

BOOK, TRAINING = "Supplementary_Tables.xlsx", "training_df.csv"
SEGMENTS, NEOANTIGENS = "transneo-diagnosis-ASCAT-segments.tsv.gz", "transneo-diagnosis-neoantigens.tsv.gz"
IMAGE = "transneo-diagnosis-DigPathology.tsv.gz"
PUBLISHED = files.sources()
Frames = dict[str, pd.DataFrame]


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("transneo")


@cache
def transneo(home: Path, **options: object) -> TransNeo:
    """Shared: a dataset reads its files once and changes nothing."""
    return TransNeo(TransNeo.Options.model_validate(options), home)


def sizes(cases: Sequence[Case], bag: str) -> list[int]:
    return [len(case.refs[bag]) for case in cases if bag in case.refs]


@pytest.mark.data
def test_the_patients_of_the_predictor(home: Path) -> None:
    cases = transneo(home).cases()
    assert Counter(c.target.label for c in cases) == {"residual disease": 109, "pCR": 38}
    assert all(set(c.refs) >= {"clinical", "dna", "rna", "image", "mutations", "segments"} for c in cases)
    assert [c.id for c in cases if "neoantigens" not in c.refs] == ["T074", "T118", "T121"]
    assert any("six who had a single cycle" in note for note in transneo(home).info().notes)


@pytest.mark.data
def test_every_patient_with_a_known_response(home: Path) -> None:
    dataset = transneo(home, cases="all")
    known = [c for c in dataset.cases() if c.target is not None]
    assert Counter(c.target.label for c in known) == {"residual disease": 120, "pCR": 42}
    has = {m: [c.target.label == "pCR" for c in known if m in c.refs] for m in dataset.info().modalities}
    assert {m: (len(labels), sum(labels)) for m, labels in has.items()} == {
        "clinical": (162, 42),
        "dna": (147, 38),
        "rna": (147, 38),
        "image": (160, 41),
        "mutations": (161, 42),
        "neoantigens": (151, 40),
        "segments": (162, 42),
    }
    assert sum(np.isnan(c.refs["clinical"]).any() for c in known) == 15  # no tumour size
    assert any(note.startswith("15 patients have no dna, no rna") for note in dataset.info().notes)


@pytest.mark.data
def test_sizes_of_the_bags(home: Path) -> None:
    cases = transneo(home, cases="all").cases()
    found = {bag: sizes(cases, bag) for bag in ("mutations", "neoantigens", "segments")}
    assert {bag: (len(n), sum(n), min(n), max(n)) for bag, n in found.items()} == {
        "mutations": (167, 16134, 7, 513),
        "neoantigens": (157, 4145, 1, 157),
        "segments": (168, 11468, 26, 212),
    }
    assert np.median(found["mutations"]) == 73


@pytest.mark.data
def test_vectors_are_those_of_the_training_table(home: Path) -> None:
    """Clinical features are coded here from Supplementary Table 1, image features read from their own file."""
    table = pd.read_csv(home / "transneo" / TRAINING).set_index("Trial.ID")
    of = {"clinical": tables.CLINICAL, "dna": tables.DNA, "rna": tables.RNA, "image": tables.IMAGE}
    for case in transneo(home).cases():
        for name, columns in of.items():
            np.testing.assert_allclose(case.refs[name], table.loc[case.id, list(columns)].astype(float), rtol=1e-12)
        mutations = case.refs["mutations"]
        assert len(mutations) == table.loc[case.id, "All.TMB"]
        assert len(case.refs.get("neoantigens", ())) == table.loc[case.id, "Expressed.NAg"]


@pytest.mark.data
def test_no_leak_column_is_an_input(home: Path) -> None:
    """The pattern is complete: it takes every such column of the two published tables."""
    book = load_workbook(home / "transneo" / BOOK, read_only=True)
    header = next(book["Supplementary Table 1"].iter_rows(max_row=1, values_only=True))
    published = [*map(str, header), *pd.read_csv(home / "transneo" / TRAINING, nrows=0)]
    assert sum(bool(LEAK.search(name)) for name in published) == 27
    inputs = [f for use in transneo(home).info().modalities.values() for f in use.features]
    assert len(inputs) == 7 + 8 + 11 + 1 + 30 + 13 + 26
    assert not [name for name in inputs if LEAK.search(name)]


@pytest.mark.data
def test_modalities_take_every_case_and_cases_travel(home: Path) -> None:
    assert_cases_are_read_and_travel(transneo(home, cases="all"))


def test_sources_are_pinned_and_ask_for_agreement() -> None:
    sources = transneo(Path("nowhere")).sources()
    assert len(sources) == 5
    assert all(s.url.startswith("https://raw.githubusercontent.com/") and " " not in s.url for s in sources)
    assert all(len(s.sha256) == 64 and s.size > 0 and s.needs_accept and "no licence" in s.terms for s in sources)


def made_frames() -> Frames:
    """Four patients: T001 and T002 in the training table, T003 beside it, T004 without a response."""
    ids = ["T001", "T002", "T003", "T004"]
    clinical = {
        "Donor.ID": ids,
        "Age": [51, 42, 36, 60],
        "LN.status.at.diagnosis": ["NEG", "POS", "NEG", "POS"],
        "Histology": ["IDC", "ILC", "IDC+ILC", "MEDULLARY"],
        "ER.status": ["POS", "NEG", "POS", "POS"],
        "HER2.status": ["NEG", "NEG", "POS", "POS"],
        "Grade.pre.NAT": [3, 2, 3, 3],
        "Surgery.type": ["Mastectomy", "WLE", "WLE", None],
        "RCB.score": [0.0, 2.1, None, None],
        "RCB.category": ["pCR", "RCB-II", None, None],
        "pCR.RD": ["pCR", "RD", "RD", None],
    }
    mutations = {
        "Donor.ID": ["T001", "T001", "T003"],
        "tumour.vaf": [0.5, 0.25, 0.75],
        "Variant_Type": ["SNV", "DEL", "SNV"],
        "MAF_Variant": ["Silent", "Frame_Shift_Del", "3'UTR"],
        "ClonalStatus": ["CLONAL", None, "SUBCLONAL"],
        "ExpressedInRNA": ["YES", "NO", None],
        "Neoantigenic": ["NO", None, "YES"],
    }
    training = {
        "Trial.ID": ["T001", "T002"],
        "resp.pCR": [1, 0],
        "Chemo.NumCycles": [6, 4],
        "Size.at.diagnosis": [20, 33],
    }
    training |= {name: [float(i), -1.0] for i, name in enumerate((*tables.DNA, *tables.RNA))}
    neoantigens = {
        "Trial.ID": ["T003", "T003"],
        "Variant.Type": ["missense", "FS"],
        "HLA.Allele": ["HLA-C*03:04", "HLA-A*02:01"],
        "Peptide.Length": [9, 11],
        "Best.MT.Score": [100.0, 10.0],
        "Corresponding.Fold.Change": [1000.0, None],
        "Tumor.DNA.VAF": [0.5, 0.25],
        "Tumor.RNA.VAF": [1.0, 0.0],
        "Gene.Expression": [10.0, 1.0],
    }
    segments = {
        "Trial.ID": ["T001", "T002", "T002"],
        "chr": ["1", "2", "X"],
        "startpos": [0, 1_000_000, 5],
        "endpos": [2_500_000, 2_000_000, 5],
        "nMajor": [2, 1, 77],
        "nMinor": [1, 0, 0],
    }
    made = {
        "Supplementary Table 1": clinical,
        "Supplementary Table 2": mutations,
        TRAINING: training,
        SEGMENTS: segments,
        NEOANTIGENS: neoantigens,
        IMAGE: {"Trial.ID": ids[:3], "n_total": [9, 9, 9], "median_lymph_KDE_knn_50": [-3.5, -2.5, -1.5]},
    }
    return {name: pd.DataFrame(columns) for name, columns in made.items()}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., TransNeo]:
    """A cohort of made files whose checksums are taken for the published ones."""

    def write(frames: Frames, **options: object) -> TransNeo:
        folder = tmp_path / "transneo"
        folder.mkdir(exist_ok=True)
        with pd.ExcelWriter(folder / BOOK) as book:
            for name, frame in frames.items():
                if name.startswith("Supplementary"):
                    frame.to_excel(book, sheet_name=name, index=False)
                else:
                    frame.to_csv(folder / name, sep="\t" if ".tsv" in name else ",", index=False)
        published = {
            path: replace(source, sha256=hashlib.sha256((tmp_path / path).read_bytes()).hexdigest())
            for path, source in PUBLISHED.items()
            if not path.endswith(files.SCORES)
        }
        monkeypatch.setattr(files, "sources", lambda: published)
        return TransNeo(TransNeo.Options.model_validate(options), tmp_path)

    return write


def test_vectors_and_classes_of_made_files(made: Callable[..., TransNeo]) -> None:
    first, second = made(made_frames()).cases()
    assert (first.target.label, second.target.label) == ("pCR", "residual disease")
    assert first.refs["clinical"].tolist() == [51, 1, 1, -1, -1, 3, 20]
    assert second.refs["clinical"].tolist() == [42, 0, -1, -1, 1, 2, 33]
    assert first.refs["dna"].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert second.refs["image"].tolist() == [-2.5]
    everyone = made(made_frames(), cases="all").cases()
    assert [c.id for c in everyone] == ["T001", "T002", "T003", "T004"]
    assert everyone[2].target.label == "residual disease"  # of a burden that was not measured
    assert set(everyone[2].refs) == {"clinical", "image", "mutations", "neoantigens"}
    assert everyone[2].refs["clinical"][:6].tolist() == [36, 1, 1, 1, -1, 3]
    assert np.isnan(everyone[2].refs["clinical"][6])
    assert everyone[3].target is None


def test_bags_of_made_files(made: Callable[..., TransNeo]) -> None:
    dataset = made(made_frames(), cases="all")
    first, second, third, _ = dataset.cases()
    names = {m: use.features for m, use in dataset.info().modalities.items()}

    def nonzero(bag: str, instance: np.ndarray) -> dict[str, float]:
        return {name: float(x) for name, x in zip(names[bag], instance, strict=True) if x}

    assert nonzero("mutations", first.refs["mutations"][1]) == {
        "vaf": 0.25,
        "ExpressedInRNA=NO": 1,
        "Variant_Type=DEL": 1,
        "MAF_Variant=Frame_Shift_Del": 1,
    }
    assert nonzero("mutations", third.refs["mutations"][0])["ClonalStatus=SUBCLONAL"] == 1
    missense = {"dna_vaf": 0.5, "rna_vaf": 1, "length": 9, "Variant.Type=missense": 1, "HLA.locus=HLA-C": 1}
    logs = {"log10_binding": 2, "log10_fold_change": 3, "log10_expression": 1}
    assert nonzero("neoantigens", third.refs["neoantigens"][0]) == missense | logs
    assert third.refs["neoantigens"][1][names["neoantigens"].index("log10_fold_change")] == 0
    assert nonzero("segments", first.refs["segments"][0]) == {"nMajor": 2, "nMinor": 1, "megabases": 2.5, "chr=1": 1}
    assert nonzero("segments", second.refs["segments"][1]) == {"nMajor": 77, "chr=X": 1}
    assert "mutations" not in second.refs


def test_what_surgery_showed_changes_no_input(made: Callable[..., TransNeo]) -> None:
    frames = made_frames()
    before = made(frames).cases()
    known = [(name, column) for name, frame in frames.items() for column in frame if LEAK.search(column)]
    assert len(known) == 6
    for name, column in known:
        frames[name][column] = frames[name][column].to_numpy()[::-1]
    frames["Supplementary Table 1"]["RCB.category"] = ["RCB-I", "pCR", None, None]
    frames["Supplementary Table 1"]["pCR.RD"] = ["RD", "pCR", None, None]
    after = made(frames).cases()
    assert [c.target.label for c in before] == [c.target.label for c in reversed(after)]
    for one, other in zip(before, after, strict=True):
        assert one.refs.keys() == other.refs.keys()
        assert all(np.array_equal(one.refs[name], other.refs[name]) for name in one.refs)


BAD = [
    (
        "Supplementary Table 1",
        "RCB.category",
        "RCB-IV",
        r"patient T001: RCB.category holds 'RCB-IV'; pCR, RCB-I, RCB-II",
    ),
    ("Supplementary Table 1", "pCR.RD", "RD", r"patient T001: RCB.category says 'pCR', pCR.RD says 'RD'"),
    ("Supplementary Table 1", "Donor.ID", "T002", r"patient T002 stands twice"),
    ("Supplementary Table 1", "ER.status", "UNK", r"ER.status holds 'UNK'; NEG, POS are known"),
    ("Supplementary Table 1", "HER2.status", None, r"HER2.status holds 'nan'; NEG, POS are known"),
    ("Supplementary Table 2", "MAF_Variant", "Fusion", r"MAF_Variant holds 'Fusion'"),
    ("Supplementary Table 2", "tumour.vaf", np.nan, r"vaf of row 2 is not a finite number"),
    (TRAINING, "HRD.sum", "many", r"every column must be numeric"),
    (SEGMENTS, "chr", "Y", r"chr holds 'Y'; 1, 2, 3"),
    (NEOANTIGENS, "Best.MT.Score", np.inf, r"log10_binding of row 2 is not a finite number"),
]


@pytest.mark.parametrize(("table", "column", "value", "message"), BAD, ids=[f"{b[1]}={b[2]}" for b in BAD])
def test_bad_cells(made: Callable[..., TransNeo], table: str, column: str, value: object, message: str) -> None:
    frames = made_frames()
    cells = frames[table][column].astype(object)
    cells.iloc[0] = value
    frames[table][column] = cells
    place = f"{re.escape(BOOK)}, {table}" if table.startswith("Supplementary") else re.escape(table)
    with pytest.raises(DataError, match=rf"{place}: .*{message}"):
        made(frames).cases()


@pytest.mark.parametrize(("table", "column"), [("Supplementary Table 1", "Age"), (SEGMENTS, "chr")])
def test_a_column_that_is_not_there(made: Callable[..., TransNeo], table: str, column: str) -> None:
    frames = made_frames()
    frames[table] = frames[table].drop(columns=column)
    with pytest.raises(DataError, match=f"{re.escape(table)}: no column {column}$"):
        made(frames).cases()


def test_there_are_no_slides() -> None:
    with pytest.raises(SuiteError, match="no slides"):
        transneo(Path("nowhere")).cases("slide")
