"""TCGA cohorts made of small files of one's own: tables, folds, gene groups, patch features, maps, R data."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from fusionbench_tcga import dispro, files, genes, maps, patches
from fusionbench_tcga.cohorts import Brca, Hnsc, Luad
from fusionbench_tcga.convert.mcos import read_table as read_matlab_table
from fusionbench_tcga.convert.rds import read_data_frame
from fusionbench_tcga.folds import read_folds

from fusionbench import DataError, Dataset, Fold, MaskRow, SuiteError
from fusionbench.builtin.vector import Vector
from fusionbench.data.cohort import load_cohort
from tests.conftest import Cli

PATIENTS = ("TCGA-05-4244", "TCGA-05-4249", "TCGA-35-4122", "TCGA-35-4123", "TCGA-44-2655")
SLIDES = tuple(f"{p}-01Z-00-DX{i}" for p in PATIENTS for i in ((1, 2) if p.endswith("4249") else (1,)))
SIGNATURES = "A,B,C,D,E,F\nTP53,EGFR,ALK,KIT,MYC,IL6\nKRAS,TP53,,,NONE,\n"


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    of_patient = {p: rng.normal(size=2).round(3) for p in PATIENTS}
    rows: dict[str, Any] = {
        "case_id": [s[:12] for s in SLIDES],
        "slide_id": [f"{s}.AAAA-BBBB.svs" for s in SLIDES],
        "site": [s[5:7] for s in SLIDES],
        "survival_months": [10.0 + PATIENTS.index(s[:12]) for s in SLIDES],
        "censorship": [PATIENTS.index(s[:12]) % 2 for s in SLIDES],
        "age": [60.0 if s[:12] != PATIENTS[0] else np.nan for s in SLIDES],
        "is_female": [1 if s[:12] != PATIENTS[0] else np.nan for s in SLIDES],
        "oncotree_code": "LUAD",
        "train": 0,
        "TP53_rnaseq": [of_patient[s[:12]][0] for s in SLIDES],
        "EGFR_cnv": [round(of_patient[s[:12]][1]) for s in SLIDES],
        "TP53_mut": [PATIENTS.index(s[:12]) % 2 for s in SLIDES],
    }
    return pd.DataFrame(rows)


def write(home: Path, table: pd.DataFrame) -> None:
    path = home / "porpoise/datasets_csv_mutsig/tcga_luad_all_clean.csv.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("luad.csv", table.to_csv())
    (home / "porpoise/datasets_csv").mkdir(exist_ok=True)
    (home / "porpoise/datasets_csv/signatures.csv").write_text(SIGNATURES)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home in which no checksum is published, so that every file is one's own."""
    monkeypatch.setattr(files, "_published", dict)
    write(tmp_path, frame())
    return tmp_path


def luad(home: Path, **options: object) -> Luad:
    return Luad(Luad.Options.model_validate(options), home)


def test_a_cohort_of_ones_own(home: Path) -> None:
    dataset = luad(home)
    cases, info = dataset.cases(), dataset.info()
    assert [c.id for c in cases] == list(PATIENTS)
    assert [c.id for c in dataset.cases("slide")] == list(SLIDES)
    assert [c.target.event for c in cases] == [True, False, True, False, True]
    assert "clinical" not in cases[0].refs  # neither age nor sex known
    assert cases[1].refs["clinical"].tolist() == [60.0, 1.0]
    assert info.modalities["omic"].features == ("TP53_rnaseq", "EGFR_cnv", "TP53_mut")
    assert info.modalities["omic"].groups == {
        "A": ("TP53_mut", "TP53_rnaseq"),
        "B": ("EGFR_cnv", "TP53_mut", "TP53_rnaseq"),
        **dict.fromkeys("CDEF", ()),
    }
    assert "omic: no column for the gene groups C, D, E, F; left out" in info.notes
    assert any("recorded, not verified" in note for note in info.notes)
    assert all(len(checksum) == 64 for checksum in info.checksums.values())
    assert dataset.folds() is None


def of_histology(home: Path, kind: type[Dataset], codes: dict[str, str], **options: object) -> Dataset:
    """The made table as one of another cohort, with codes of OncoTree by patient."""
    write(home, frame().assign(oncotree_code=lambda f: f["case_id"].map(codes)))
    dataset = kind(kind.Options.model_validate(options), home)
    (home / luad(home).table_path).rename(home / dataset.table_path)
    return dataset


def test_histology_as_classes(home: Path) -> None:
    codes = dict(zip(PATIENTS, ("IDC", "ILC", "MDLC", "IDC", "ILC"), strict=True))
    dataset = of_histology(home, Brca, codes, endpoint="lobular")
    cases, info = dataset.cases(), dataset.info()
    assert [(c.id, c.target.label) for c in cases] == [
        (PATIENTS[0], "ductal"),
        (PATIENTS[1], "lobular"),
        (PATIENTS[3], "ductal"),
        (PATIENTS[4], "lobular"),
    ]
    assert (info.task, info.classes) == ("binary", ("ductal", "lobular"))
    assert "1 of 5 patients are coded neither ductal nor lobular; left out" in info.notes
    assert not any("oncotree" in f for use in info.modalities.values() for f in use.features)
    assert set(info.endpoints) == {"os", "dss", "pfi", "dfi", "stage", "grade", "lobular"}


def test_histology_that_is_not_there(home: Path) -> None:
    with pytest.raises(
        SuiteError, match="tcga-luad: endpoint=serous belongs to tcga-ucec; os, dss, pfi, dfi, stage, gr"
    ):
        luad(home, endpoint="serous")
    dataset = of_histology(home, Brca, {}, endpoint="lobular")
    write(home, frame().drop(columns="oncotree_code"))
    (home / luad(home).table_path).rename(home / dataset.table_path)
    with pytest.raises(DataError, match=r"tcga_brca_all_clean\.csv\.zip: no column oncotree_code"):
        dataset.cases()


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("oncotree_code", 1, "LUSC", r"the slides of patient TCGA-05-4249 differ in oncotree_code"),
        ("TP53_rnaseq", 0, "high", r"column 'TP53_rnaseq' holds 'high', which is no number"),
        ("TP53_rnaseq", 0, np.inf, r"column 'TP53_rnaseq' holds an infinite value"),
        ("survival_months", 0, -1.0, r"slide TCGA-05-4244-01Z-00-DX1 has survival_months -1"),
        ("survival_months", 0, np.nan, r"has survival_months nan"),
        ("censorship", 0, 2, r"has censorship 2"),
        ("slide_id", 1, f"{SLIDES[2]}.svs", r"slide TCGA-05-4249-01Z-00-DX2 stands in 2 rows"),
        ("slide_id", 1, "slide-17.svs", r"slide_id 'slide-17.svs' is no slide barcode"),
        ("case_id", 1, "TCGA-05-4250", r"no slide barcode of case_id 'TCGA-05-4250'"),
        ("TP53_rnaseq", 1, 99.0, r"the slides of patient TCGA-05-4249 differ in omic columns"),
        ("survival_months", 1, 99.0, r"the slides of patient TCGA-05-4249 differ in survival_months"),
    ],
)
def test_bad_tables_are_refused(home: Path, column: str, row: int, value: object, message: str) -> None:
    table = frame().astype({column: object})
    table.loc[row, column] = value
    write(home, table)
    with pytest.raises(DataError, match=rf"tcga_luad_all_clean\.csv\.zip: .*{message}"):
        luad(home).cases()


def test_tables_that_are_none(home: Path) -> None:
    write(home, frame().drop(columns=["age", "site"]))
    with pytest.raises(DataError, match="no column site, age"):
        luad(home).cases()
    write(home, frame().drop(columns=["TP53_rnaseq", "EGFR_cnv", "TP53_mut"]))
    with pytest.raises(DataError, match="needs distinct gene columns"):
        luad(home).cases()
    path = home / luad(home).table_path
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="not a zip'd csv table"):
        luad(home).cases()
    path.unlink()
    with pytest.raises(DataError, match="is missing; there is no download for it: put your own at"):
        luad(home).cases()


def test_folds_of_ones_own(home: Path) -> None:
    folder = home / "porpoise/splits/5foldcv/tcga_luad"
    folder.mkdir(parents=True)
    for i, patient in enumerate(PATIENTS):
        train = [p for p in PATIENTS if p != patient]
        pd.DataFrame({"train": train, "val": [patient, None, None, None]}).to_csv(folder / f"splits_{i}.csv")
    folds = luad(home).folds()
    assert folds is not None
    assert [f.test for f in folds] == [(p,) for p in PATIENTS]
    assert [len(f.train) for f in folds] == [4] * 5
    (folder / "splits_4.csv").unlink()
    with pytest.raises(DataError, match=r"splits_4\.csv is missing"):
        luad(home).folds()


def read_fold_files(*files: bytes, patients: str = "abcd", kept: str = "abcd") -> tuple[list[Fold], tuple[str, ...]]:
    found, notes = read_folds({f"s{i}.csv": data for i, data in enumerate(files)}, tuple(patients), frozenset(kept))
    return list(found), notes


def test_folds_of_ones_own_with_a_validation_part() -> None:
    text = b",train,val,test\n0,b,c,a\n1,d,,\n"
    assert read_fold_files(text, kept="abd") == ([Fold(("b", "d"), (), ("a",))], ())
    assert read_fold_files(text) == ([Fold(("b", "d"), ("c",), ("a",))], ())


def test_folds_of_slides_are_those_of_their_patients() -> None:
    one, two = PATIENTS[:2]
    text = f"slide,train,val\n{one}-01Z-00-DX1.AAAA.svs,True,False\n{two}-01Z-00-DX2,False,True\n"
    folds, notes = read_folds({"s0.csv": text.encode()}, (one, two), frozenset((one, two)))
    assert (folds, notes) == ((Fold((one,), (), (two,)),), ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"train,val,test\nb,c,a\nc,,\n", "s0.csv: 1 ids stand in both train and val, the first is 'c'"),
        (b"train,val\nx,y\n", "s0.csv: no patient of the cohort's table is in its train part"),
        (b"train,val\na,y\n", "s0.csv: no patient of the cohort's table is in its test part"),
        (b"a,b\n1,2\n", "s0.csv: no columns train and test"),
        (b"train,val\n1,2,3\n4,5,6,7\n", "s0.csv: cannot be read as a table"),
        (b"", "s0.csv: cannot be read as a table"),
    ],
)
def test_fold_files_that_cannot_be(text: bytes, said: str) -> None:
    with pytest.raises(DataError) as error:
        read_fold_files(text)
    assert str(error.value).startswith(said)


def test_slides_of_one_patient_on_two_sides_of_a_fold_are_refused() -> None:
    text = f"train,val\n{PATIENTS[0]}-01Z-00-DX1,{PATIENTS[0]}-01Z-00-DX2\n".encode()
    with pytest.raises(DataError, match=f"slides of 1 patients stand in both train and test, .* {PATIENTS[0]}"):
        read_folds({"s0.csv": text}, PATIENTS, frozenset(PATIENTS))


def test_survpaths_folds_are_of_some_of_the_patients(home: Path, cli: Cli) -> None:
    """Patients outside the split stay in the cohort, are in no part of a fold, and are counted, as unknown ids are."""
    folder = home / "survpath/splits/5foldcv/tcga_luad"
    with pytest.raises(DataError, match=r"survpath/splits/5foldcv/tcga_luad/splits_0\.csv is missing; there is no"):
        luad(home, folds="survpath").folds()
    folder.mkdir(parents=True)
    for i in range(5):
        text = f",train,val\n0,{PATIENTS[0]},{PATIENTS[i % 2 + 1]}\n1,{PATIENTS[3]},TCGA-ZZ-0000\n"
        (folder / f"splits_{i}.csv").write_text(text)
    dataset = luad(home, folds="survpath")
    folds = dataset.folds()
    assert folds is not None
    assert [(f.train, f.val, f.test) for f in folds] == [
        ((PATIENTS[0], PATIENTS[3]), (), (PATIENTS[i % 2 + 1],)) for i in range(5)
    ]
    assert [case.id for case in dataset.cases()] == list(PATIENTS)
    assert luad(home).folds() is None
    assert str(luad(home, folds="porpoise").identity) == str(luad(home).identity) != str(dataset.identity)
    checked = cli("data", "check", "tcga-luad[folds=survpath]", env={"FUSIONBENCH_DATA": str(home)})
    assert checked.returncode == 0, checked.stderr
    for line in (
        "folds: 1 of 5 ids are not in the table, the first is TCGA-ZZ-0000; left out",
        "folds: 3 of 5 patients are in no part of a fold, the first is TCGA-05-4249; with",
        "folds: 2 of 5 patients are tested by several folds, the first is TCGA-05-4249",
        "5 published folds; fold_source = 'published' uses them",
    ):
        assert line in checked.stdout


def test_dispros_masks_hide_slides_and_omic_columns_from_training_patients(home: Path, tmp_path: Path) -> None:
    """Its val is what is tested; ids of others are kept, for whoever reads the masks to count."""
    ids = (*PATIENTS[:4], "TCGA-ZZ-0000")
    for mask in dispro.MASKS:
        for fold, path in enumerate(dispro.paths("luad", mask)):
            (home / path).parent.mkdir(parents=True, exist_ok=True)
            lines = ["Study,ID,Event,Status,WSI,Omics,Split"]
            for i, id_ in enumerate(ids):
                tested = i == fold % 4
                wsi = "" if mask == "W60_O0" and not tested else f"{id_}-01Z-00-DX1.AAAA.pt"
                omics = "" if mask == "W0_O60" and i == 4 else f"{id_}.csv"
                lines.append(f"TCGA-LUAD,{id_},3.1,1.0,{wsi},{omics},{'val' if tested else 'train'}")
            (home / path).write_text("\n".join(lines) + "\n")
    dataset = luad(home, folds="dispro", image=f"dir:{patch_folder(tmp_path / 'patches')}")
    folds, masks = dataset.folds(), dataset.masks()
    assert folds is not None
    assert [f.test for f in folds] == [(PATIENTS[i % 4],) for i in range(5)]
    assert all({*f.train, *f.test} == set(PATIENTS[:4]) for f in folds)
    assert masks["W0_O60"] == tuple(MaskRow("TCGA-ZZ-0000", "omic", fold) for fold in range(5))
    assert masks["W30_O30"] == ()
    assert set(masks["W60_O0"]) == {
        MaskRow(id_, "image", fold) for fold in range(5) for i, id_ in enumerate(ids) if i != fold % 4
    }
    assert luad(home, folds="dispro").masks()["W60_O0"] == ()  # no image modality
    assert "folds: 1 of 5 ids are not in the table, the first is TCGA-ZZ-0000; left out" in dataset.info().notes
    assert luad(home).masks() == {}
    with pytest.raises(SuiteError, match="tcga-hnsc: option folds=dispro belongs to tcga-blca, tcga-brca, tcga-luad"):
        Hnsc(Hnsc.Options.model_validate({"folds": "dispro"}), home)


def test_gene_groups_need_six_columns() -> None:
    with pytest.raises(DataError, match=r"expected 6 columns of gene names, found 2"):
        genes.signatures(b"A,B\nTP53,EGFR\n", ["TP53_mut"], "signatures.csv")


def test_groups_of_survpath_and_of_a_file(home: Path, tmp_path: Path) -> None:
    path = home / genes.FILES["hallmarks"]
    path.parent.mkdir(parents=True)
    path.write_text("H1,H2\nTP53,EGFR\nMYC,TP53\n")
    (tmp_path / "own.gmt").write_text("H1\tna\tTP53\tMYC\nH2\tna\tEGFR\tTP53\n")
    plain, of_download, own = luad(home), luad(home, groups="hallmarks"), luad(home, groups=str(tmp_path / "own.gmt"))
    assert [s.path for s in of_download.sources() if "signatures" in s.path] == [genes.FILES["hallmarks"]]
    assert not [s.path for s in own.sources() if "signatures" in s.path]
    for dataset, file in ((of_download, "hallmarks_signatures.csv"), (own, "own.gmt")):
        use = dataset.info().modalities["omic"]
        assert use.groups == {"H1": ("TP53_mut", "TP53_rnaseq"), "H2": ("EGFR_cnv", "TP53_mut", "TP53_rnaseq")}
        assert dataset.info().notes[0] == (
            f"omic: 2 groups of {file}, with 2 to 3 columns each; 2 of 3 genes have a column, 1 skipped, the first "
            "is 'MYC'"
        )
        assert dataset.identity == plain.identity  # the same patients in the same folds
    modalities = {"vector": Vector}
    before = [load_cohort(dataset, modalities).fingerprint for dataset in (plain, of_download, own)]
    assert len(set(before)) == 3
    (tmp_path / "other").mkdir()
    elsewhere = (tmp_path / "own.gmt").rename(tmp_path / "other" / "own.gmt")
    assert load_cohort(luad(home, groups=str(elsewhere)), modalities).fingerprint == before[2]
    elsewhere.write_text("H1\tna\tTP53\n")
    assert load_cohort(luad(home, groups=str(elsewhere)), modalities).fingerprint not in before


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            "halmarks",
            r"groups=halmarks: cannot be read \(No such file or directory\); name a file of groups, or one of",
        ),
        ("none.gmt", r"omic.groups: no gene of none.gmt is a column, .* \('NONE' in the file, 'TP53_rnaseq' in the"),
        ("space.gmt", r"space.gmt, line 1: no tab"),
    ],
)
def test_groups_that_cannot_be(home: Path, monkeypatch: pytest.MonkeyPatch, groups: str, said: str) -> None:
    monkeypatch.chdir(home)
    (home / "none.gmt").write_text("A\tna\tNONE\n")
    (home / "space.gmt").write_text("A TP53\n")
    with pytest.raises(DataError, match=said):
        luad(home, groups=groups).info()


def test_shared_columns_have_no_groups(home: Path) -> None:
    with pytest.raises(SuiteError, match="option groups is of omic, in place of which shared=true brings 12 genes"):
        Brca(Brca.Options.model_validate({"shared": True, "groups": "hallmarks"}), home)


def patch_folder(folder: Path) -> Path:
    """One format per slide; DX2 of the second patient and all of the last are absent, a stranger is there."""
    folder.mkdir()
    bags = [np.full((i + 2, 8), i, dtype=np.float32) for i in range(len(SLIDES))]
    np.save(folder / f"{SLIDES[0]}.npy", bags[0])
    np.savez(folder / f"{SLIDES[1]}.AAAA-BBBB.npz", features=bags[1])
    torch.save(torch.from_numpy(bags[2]), folder / f"{SLIDES[2]}.pt")
    with h5py.File(folder / f"{SLIDES[3]}.h5", "w") as file:
        file["features"] = bags[3]
    np.save(folder / "TCGA-99-9999-01Z-00-DX1.npy", bags[0])
    (folder / "readme.txt").write_text("notes")
    return folder


def test_patch_features_of_ones_own(home: Path) -> None:
    folder = patch_folder(home / "patches")
    (folder / f"._{SLIDES[0]}.npy").write_bytes(b"what macOS puts beside a file")
    dataset = luad(home, image=f"dir:{folder}")
    refs = {c.id: c.refs.get("image") for c in dataset.cases()}
    assert refs == {
        PATIENTS[0]: (folder / f"{SLIDES[0]}.npy",),
        PATIENTS[1]: (folder / f"{SLIDES[1]}.AAAA-BBBB.npz", folder / f"{SLIDES[2]}.pt"),
        PATIENTS[2]: (folder / f"{SLIDES[3]}.h5",),
        PATIENTS[3]: None,
        PATIENTS[4]: None,
    }
    by_slide = {c.id: c.refs.get("image") for c in dataset.cases("slide")}
    assert by_slide[SLIDES[2]] == (folder / f"{SLIDES[2]}.pt",)
    info = dataset.info()
    assert (info.modalities["image"].modality, info.modalities["image"].dim) == ("bag", 8)
    assert "image: 3 of 5 patients have it" in info.notes
    before = info.checksums["image=dir"]
    np.save(folder / f"{SLIDES[0]}.npy", np.ones((2, 8), dtype=np.float32))
    assert luad(home, image=f"dir:{folder}").info().checksums["image=dir"] != before
    assert info.modalities["image"].encoder == ""
    with h5py.File(folder / f"{SLIDES[3]}.h5", "a") as file:
        file["features"].attrs["encoder"] = "uni_v1"
    assert luad(home, image=f"dir:{folder}").info().modalities["image"].encoder == "uni_v1"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pt", ["one", "two"]), ("b.pt", b""), ("b.npy", b""), ("b.h5", b"no")],
)
def test_a_patch_file_that_holds_no_array_is_one_line(tmp_path: Path, name: str, content: object) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(DataError, match=rf"{name}: (cannot be read .*; write the file again|holds a list)") as error:
        patches.instances(tmp_path / name)
    assert "\n" not in str(error.value)


def test_patch_features_have_a_place_in_the_data_home(home: Path) -> None:
    with pytest.raises(
        DataError, match=r"patches/tcga-luad is no folder; put one file of patch features per slide there"
    ):
        luad(home, image="dir").cases()
    (home / "patches").mkdir()
    folder = patch_folder(home / "patches" / "tcga-luad")
    assert luad(home, image="dir").cases()[0].refs["image"] == (folder / f"{SLIDES[0]}.npy",)


def test_patch_widths_of_all_formats(tmp_path: Path) -> None:
    folder = patch_folder(tmp_path / "patches")
    assert {path.suffix: patches.instances(path)[1] for path in folder.iterdir() if path.suffix != ".txt"} == {
        ".npy": 8,
        ".npz": 8,
        ".pt": 8,
        ".h5": 8,
    }
    np.save(folder / "batch.npy", np.zeros((1, 5, 3)))
    assert patches.instances(folder / "batch.npy") == (5, 3), "an axis of one batch leads, as CLAM and TRIDENT write it"
    np.save(folder / "volume.npy", np.zeros((2, 5, 3)))
    with pytest.raises(DataError, match=r"volume\.npy: expected an \(instance, feature\) array.*\(2, 5, 3\)"):
        patches.instances(folder / "volume.npy")
    (folder / "bad.h5").write_bytes(b"no")
    with pytest.raises(DataError, match=r"bad\.h5: cannot be read"):
        patches.instances(folder / "bad.h5")
    np.save(folder / "flat.npy", np.zeros(3))
    assert patches.instances(folder / "flat.npy") == (1, 3), "a vector is one instance, as encoders of slides write it"


def test_patch_folders_that_cannot_be(home: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        luad(home, image=f"dir:{home / 'nothing'}").cases()
    (home / "empty").mkdir()
    with pytest.raises(DataError, match="named by a slide of this cohort"):
        luad(home, image=f"dir:{home / 'empty'}").cases()
    folder = patch_folder(home / "patches")
    np.save(folder / f"{SLIDES[0]}.other.npy", np.zeros((1, 8)))
    with pytest.raises(DataError, match="are of one slide"):
        luad(home, image=f"dir:{folder}").cases()


def test_windows_keep_every_pixel_in_its_place() -> None:
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    grid = maps.windows(pixels, 4)
    assert grid.shape == (2, 2, 4 * 4 * 3)
    np.testing.assert_array_equal(grid[0, 0].reshape(4, 4, 3), pixels[:4, :4])
    np.testing.assert_array_equal(grid[1, 1].reshape(4, 4, 3)[:1, :3], pixels[4:, 4:])
    assert not grid[1, 1].reshape(4, 4, 3)[1:].any()  # padding
    np.testing.assert_array_equal(maps.windows(pixels, 1), pixels)


def test_reduction_rounds_half_to_even_and_drops_the_rest() -> None:
    pixels = np.zeros((3, 5, 1), dtype=np.uint8)
    pixels[:2, :2, 0] = [[0, 1], [1, 0]]  # mean 0.5
    pixels[:2, 2:4, 0] = [[2, 2], [1, 1]]  # mean 1.5
    assert maps.reduce(pixels, 2).tolist() == [[[0], [2]]]


def item(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return struct.pack(">I", kind | flags) + body


def text(value: str) -> bytes:
    return item(9, struct.pack(">i", len(value)) + value.encode())


def strings(*values: str) -> bytes:
    return item(16, struct.pack(">i", len(values)) + b"".join(map(text, values)))


def r_frame(version: int = 2) -> bytes:
    """data.frame(id = c("a", "b"), x = c(1.5, NA), n = c(7L, NA)) as R serialises it."""
    columns = (
        strings("a", "b")
        + item(14, struct.pack(">i2d", 2, 1.5, np.nan))
        + item(13, struct.pack(">i2i", 2, 7, -(2**31)))
    )
    names = item(2, item(1, text("names")) + strings("id", "x", "n"), flags=0x400)
    rows = item(2, item(1, text("row.names")) + item(13, struct.pack(">3i", 2, -(2**31), -2)), flags=0x400)
    body = item(19, struct.pack(">i", 3) + columns + names + rows + item(254), flags=0x300)
    head = b"X\n" + struct.pack(">iii", version, 0x30602, 0x30500)
    return head + (struct.pack(">i", 5) + b"UTF-8" if version == 3 else b"") + body


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("packed", [False, True])
def test_r_data_frames(version: int, packed: bool) -> None:
    data = r_frame(version)
    found = read_data_frame(gzip.compress(data) if packed else data, "x.rds")
    assert list(found) == ["id", "x", "n"]
    assert found["id"] == ["a", "b"]
    np.testing.assert_array_equal(found["x"], [1.5, np.nan])
    np.testing.assert_array_equal(found["n"], [7, np.nan])


@pytest.mark.parametrize(
    "data",
    [b"", b"RDX2\n", r_frame()[:-30], gzip.compress(r_frame())[:-20], b"X\n" + struct.pack(">iiiI", 2, 0, 0, 25)],
    ids=["empty", "other format", "truncated", "truncated gzip", "unknown type"],
)
def test_r_data_that_cannot_be_read(data: bytes) -> None:
    with pytest.raises(DataError, match=r"x\.rds: not an R data file"):
        read_data_frame(data, "x.rds")


def test_matlab_files_without_a_table(tmp_path: Path) -> None:
    from scipy.io import savemat

    savemat(tmp_path / "plain.mat", {"a": np.ones(3)})
    with pytest.raises(DataError, match=r"plain\.mat: holds no MATLAB table"):
        read_matlab_table((tmp_path / "plain.mat").read_bytes(), "plain.mat")
    with pytest.raises(DataError, match=r"plain\.mat: holds no MATLAB table"):
        read_matlab_table(b"garbage" * 100, "plain.mat")
