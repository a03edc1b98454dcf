"""METABRIC made of small files of the same form, and bad ones."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fusionbench_metabric import clinical, files, mutations
from fusionbench_metabric.dataset import Metabric
from fusionbench_tcga import shared

from fusionbench import DataError, SuiteError
from tests.unit.plugins.test_metabric import metabric

PUBLISHED = files.sources()
Texts = dict[str, str]


def test_sources_are_pinned_and_ask_for_agreement() -> None:
    plain, more = (metabric(Path("nowhere"), label_selected=more).sources() for more in (False, True))
    assert [len(plain), len(more)] == [5, 8]
    assert not any("MDNNMD" in s.url for s in plain)
    assert all(s.url.startswith("https://raw.githubusercontent.com/") for s in more)
    assert all(len(s.sha256) == 64 and s.size > 0 and s.needs_accept and "no licence" in s.terms for s in more)


NEEDED = {
    files.PATIENTS: {
        "PATIENT_ID": "MB-1 MB-2 MB-3 MB-4",
        "OS_MONTHS": "70 10 80 5",
        "INTCLUST": "4ER+ 10 1 2",
        "COHORT": "1 1 3 3",
        "AGE_AT_DIAGNOSIS": "50.5 61.25 40 null",
        "LATERALITY": "l null r r",
        "NPI": "4.03 4.03 3.0021 2",
        "ER_IHC": "pos neg null pos",
        "INFERRED_MENOPAUSAL_STATE": "pre post post pre",
        "BREAST_SURGERY": "MASTECTOMY null MASTECTOMY MASTECTOMY",
        "CELLULARITY": "low high null low",
        "HER2_SNP6": "NEUT UNDEF GAIN LOSS",
        "THREEGENE": "HER2+ null HER2+ HER2+",
        "CLAUDIN_SUBTYPE": "LumA NC Basal Normal",
        "CHEMOTHERAPY": "YES NO NO NO",
    },
    files.SAMPLES: {
        "PATIENT_ID": "MB-3 MB-2 MB-1 MB-4",
        "GRADE": "3 null 1 1",
        "TUMOR_SIZE": "20 10 30 1",
        "TUMOR_STAGE": "null 1 4 1",
        "ER_STATUS": "+ - + +",
        "HER2_STATUS": "- - + +",
        "PR_STATUS": "- - - -",
        "ONCOTREE_CODE": "IDC MDLC ILC IDC",
    },
    files.NODES: {"patientId": "MB-1 MB-2 MB-3", "LYMPH_NODES_EXAMINED_POSITIVE": "0 NA 7"},
    files.SURVIVAL: {
        "patientId": "MB-1 MB-2 MB-3 MB-4",
        "time": "2131 1500 400 300",
        "event_str": ["Living", "Died of Other Causes", "Died of Disease", "Living"],
    },
    files.MUTATIONS: {
        "Tumor_Sample_Barcode": "MB-1 MB-1 MB-1 MB-2 MB-9",
        "Hugo_Symbol": "TP53 TP53 KRAS TP53 PTEN",
        "Variant_Classification": "Missense_Mutation Splice_Site Intron Silent Missense_Mutation",
        "Variant_Type": "SNP DEL SNP SNP SNP",
        "Hotspot": "1 0 0 0 0",
    },
}
"""Columns of the files: cells between blanks, or a list where cells hold blanks."""

Frames = dict[str, pd.DataFrame]


def made_frames() -> Frames:
    def cells(of: str | list[str]) -> list[str]:
        return of.split() if isinstance(of, str) else list(of)

    return {name: pd.DataFrame({c: cells(of) for c, of in columns.items()}) for name, columns in NEEDED.items()}


CODED = "{living} 1 0 {cohort} {age} {side} {npi}" + " 0" * 18
BLOCKS: Texts = {
    files.CODED: "\n".join(
        [
            CODED.format(living=0, cohort=3, age="40", side=1, npi="3.002"),
            CODED.format(living=1, cohort=1, age="50.5", side=0, npi="4.03"),
            CODED.format(living=0, cohort=1, age="61.25", side=2, npi="4.03"),
        ]
    ),
    files.EXPRESSION: "0 1\n-1 0\n1 1\n",
    files.COPY_NUMBER: "2\n0\n-2\n",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Metabric]:
    """A cohort of made files whose checksums are taken for the published ones."""

    def write(frames: Frames, blocks: Texts | None = None, **options: object) -> Metabric:
        (tmp_path / "metabric").mkdir(exist_ok=True)
        texts = {name: frame.to_csv(sep="\t", index=False) for name, frame in frames.items()}
        texts[files.PATIENTS] = f"#Patient Identifier\n{texts[files.PATIENTS]}".replace("\n", "\r")  # as published
        for name, text in {**texts, **BLOCKS, **(blocks or {})}.items():
            (tmp_path / "metabric" / name).write_bytes(text.encode())
        published = {
            path: replace(source, sha256=hashlib.sha256((tmp_path / path).read_bytes()).hexdigest())
            for path, source in PUBLISHED.items()
        }
        monkeypatch.setattr(files, "sources", lambda: published)
        return Metabric(Metabric.Options.model_validate(options), tmp_path)

    return write


def test_clinical_columns_of_made_files(made: Callable[..., Metabric]) -> None:
    dataset = made(made_frames())
    first, second, third = dataset.cases()  # MB-4 has follow-up, and no clinical value
    named = [dict(zip(clinical.COLUMNS, map(float, c.refs["clinical"]), strict=True)) for c in (first, second, third)]
    assert named[0] == {
        "age": 50.5,
        "stage": 4,
        "lobular": 1,
        "grade": 1,
        "size_mm": 30,
        "positive_nodes": 0,
        "npi": 4.03,
        "postmenopausal": 0,
        "right": 0,
        "mastectomy": 1,
        "cellularity": 0,
        "er_ihc": 1,
        "er": 1,
        "pr": 0,
        "her2": 1,
        "her2_snp6": 1,
        "threegene": 3,
        "subtype": 0,
        "integrative_cluster": 3,
    }
    empty = [{name for name, value in row.items() if value != value} for row in named]
    assert empty[0] == set()
    assert empty[1] == {
        *("grade", "positive_nodes", "right", "mastectomy", "her2_snp6", "threegene", "subtype")
    }  # UNDEF and NC are no levels
    assert empty[2] == {"stage", "cellularity", "er_ihc"}
    use = dataset.info().modalities["clinical"]
    assert use.categorical == {"threegene", "subtype", "integrative_cluster"}
    assert use.level("integrative_cluster", 3) == "4ER+"
    assert "left out: without clinical values MB-4, without follow-up none" in dataset.info().notes


def test_outcomes_of_made_files(made: Callable[..., Metabric]) -> None:
    def targets(endpoint: str) -> list[object]:
        return [c.target for c in made(made_frames(), endpoint=endpoint).cases()]

    assert [t.event for t in targets("os")] == [False, True, True]
    assert [t.event for t in targets("dss")] == [False, False, True]
    assert [t.time for t in targets("dss")] == pytest.approx([2131 / 30.44, 1500 / 30.44, 400 / 30.44])
    assert [t and t.label for t in targets("os-5y")] == ["no", "yes", "yes"]
    assert [t and t.label for t in targets("dss-5y")] == ["no", None, "yes"]


def test_mutations_of_made_files(made: Callable[..., Metabric]) -> None:
    vectors = made(made_frames())
    assert vectors.info().modalities["mutations"].features == ("TP53_mut",)  # KRAS in an intron, PTEN of nobody here
    assert [c.refs["mutations"].tolist() if "mutations" in c.refs else None for c in vectors.cases()] == [
        [1],
        [0],
        None,
    ]
    bags = made(made_frames(), mutations="bag")
    names = bags.info().modalities["mutations"].features
    first, *others = bags.cases()
    assert not any("mutations" in c.refs for c in others)  # silent only; no row
    instances = [{n for n, x in zip(names, row, strict=True) if x} for row in first.refs["mutations"]]
    kinds = ("Hugo_Symbol=TP53", "Variant_Classification=Missense_Mutation", "Variant_Type=SNP", "Hotspot")
    assert instances[0] == set(kinds)
    assert instances[1] == {"Hugo_Symbol=TP53", "Variant_Classification=Splice_Site", "Variant_Type=DEL"}
    assert instances[2] == {"Hugo_Symbol=KRAS", "Variant_Classification=Intron", "Variant_Type=SNP"}


def test_label_selected_blocks_of_made_files(made: Callable[..., Metabric]) -> None:
    dataset = made(made_frames(), label_selected=True)
    found = {c.id: (c.refs["expression"].tolist(), c.refs["copy_number"].tolist()) for c in dataset.cases()}
    assert found == {"MB-1": ([-1, 0], [0]), "MB-2": ([1, 1], [-2]), "MB-3": ([0, 1], [2])}
    assert any("selected upstream on the labels of all patients" in note for note in dataset.info().notes)
    assert set(made(made_frames()).info().modalities) == {"clinical", "mutations"}


def test_what_was_known_later_changes_no_input(made: Callable[..., Metabric]) -> None:
    frames = made_frames()
    before = made(frames, label_selected=True).cases()
    for name, column_ in ((files.PATIENTS, "OS_MONTHS"), (files.PATIENTS, "CHEMOTHERAPY"), (files.SURVIVAL, "time")):
        frames[name][column_] = frames[name][column_].to_numpy()[::-1]
    coded = BLOCKS[files.CODED].replace("\n0 1", "\n1 0").replace("\n1 1", "\n0 0")
    after = made(frames, {files.CODED: coded}, label_selected=True).cases()
    assert [c.target.time for c in before] != [c.target.time for c in after]
    for one, other in zip(before, after, strict=True):
        assert one.refs.keys() == other.refs.keys()
        assert all(np.array_equal(one.refs[name], other.refs[name], equal_nan=True) for name in one.refs)


BAD = [
    (files.PATIENTS, "PATIENT_ID", "MB-2", "patient MB-2 stands twice"),
    (files.PATIENTS, "AGE_AT_DIAGNOSIS", "old", "AGE_AT_DIAGNOSIS of MB-1 is 'old'; numbers are known"),
    (files.PATIENTS, "CELLULARITY", "High", "CELLULARITY of MB-1 is 'High'; low, moderate, high are known"),
    (files.PATIENTS, "HER2_SNP6", "AMP", "HER2_SNP6 of MB-1 is 'AMP'; LOSS, NEUT, GAIN, UNDEF are known"),
    (files.SAMPLES, "TUMOR_STAGE", "IIa", "TUMOR_STAGE of MB-3 is 'IIa'; numbers are known"),
    (files.SAMPLES, "ONCOTREE_CODE", "LUAD", "ONCOTREE_CODE of MB-3 is 'LUAD'; ILC, IDC, "),
    (files.SURVIVAL, "time", "-1", "patient MB-1 has event_str 'Living' and time -1; Died of Disease, "),
    (files.SURVIVAL, "event_str", "Dead", "patient MB-1 has event_str 'Dead' and time 2131; Died of Disease, "),
    (files.MUTATIONS, "Variant_Classification", "Fusion", "Variant_Classification holds 'Fusion'; Missense_Mutation, "),
    (files.MUTATIONS, "Variant_Type", "CNV", "Variant_Type holds 'CNV'; SNP, INS, DEL are known"),
]


@pytest.mark.parametrize(("file", "name", "value", "message"), BAD, ids=[f"{b[1]}={b[2]}" for b in BAD])
def test_bad_cells(made: Callable[..., Metabric], file: str, name: str, value: str, message: str) -> None:
    frames = made_frames()
    frames[file].loc[0, name] = value
    with pytest.raises(DataError, match=f"{re.escape(file)}: {re.escape(message)}"):
        made(frames).cases()


@pytest.mark.parametrize("file", files.NAMED)
def test_a_column_that_is_not_there(made: Callable[..., Metabric], file: str) -> None:
    frames = made_frames()
    gone = frames[file].columns[-1] if file != files.PATIENTS else "NPI"
    frames[file] = frames[file].drop(columns=gone)
    with pytest.raises(DataError, match=f"{re.escape(file)}: no column {gone}$"):
        made(frames).cases()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (files.CODED, BLOCKS[files.CODED].replace(" 40 ", " 41 "), "row 1 has not exactly one patient of its age"),
        (files.CODED, BLOCKS[files.CODED].replace("61.25 2", "50.5 0"), "row 2 has not exactly one patient of its age"),
        (files.CODED, "1 2 3\n", "3 columns; expected 25"),
        (files.EXPRESSION, "0 1\n", "1 rows; the clinical codes have 3"),
        (files.COPY_NUMBER, "a\nb\nc\n", "expected numbers in columns"),
    ],
    ids=["no patient", "one patient twice", "width", "rows", "text"],
)
def test_bad_blocks(made: Callable[..., Metabric], file: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=f"{re.escape(file)}: .*{message}"):
        made(made_frames(), {file: text}, label_selected=True).cases()


def test_options_that_do_not_go_together() -> None:
    for options in ({"mutations": "bag"}, {"label_selected": True}):
        with pytest.raises(SuiteError, match=r"does not go with shared=true, which has 15 columns; leave one out$"):
            metabric(Path("nowhere"), shared=True, **options)
    with pytest.raises(SuiteError, match="no slides"):
        metabric(Path("nowhere")).cases("slide")


def test_a_shared_gene_without_any_mutation(made: Callable[..., Metabric]) -> None:
    with pytest.raises(DataError, match="no mutation of CDH1, GATA3, KMT2C"):
        made(made_frames(), shared=True).cases()


def test_the_shared_genes_are_those_of_the_tcga_plugin() -> None:
    assert tuple(f"{gene}_mut" for gene in mutations.SHARED) == shared.MUTATIONS
