"""TCGA's own names: which slide, which patient and which tissue a barcode means, in tables and in folders."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fusionbench_tcga import barcodes, files
from fusionbench_tcga.cohorts import COHORTS, Luad
from fusionbench_tcga.dataset import Tcga

from fusionbench import DataError
from fusionbench.core.registry import discover
from fusionbench.data.cohort import Cohort, load_cohort
from tests.conftest import Cli

TABLE = Path(__file__).parents[2] / "files" / "tcga" / "slides.csv"
"""28 slides of 24 patients: DX10 beside DX1, a slide of normal tissue, frozen sections with and without a DX slide."""
SLIDES = [row["slide_id"].removesuffix(".svs") for row in csv.DictReader(TABLE.read_text().splitlines())]
MANY = "TCGA-49-4488"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home in which each cohort's table is the made one, and no checksum is published."""
    monkeypatch.setattr(files, "_published", dict)
    folder = tmp_path / "porpoise/datasets_csv_mutsig"
    folder.mkdir(parents=True)
    (tmp_path / "porpoise/datasets_csv").mkdir()
    (tmp_path / "porpoise/datasets_csv/signatures.csv").write_text("A,B,C,D,E,F\nTP53,EGFR,ALK,KIT,KRAS,IL6\n")
    return tmp_path


def made(cls: type[Tcga], home: Path, **options: object) -> Tcga:
    dataset = cls(cls.Options.model_validate(options), home)
    with zipfile.ZipFile(home / dataset.table_path, "w") as archive:
        archive.write(TABLE, "table.csv")
    return dataset


def features(folder: Path, names: list[str], ending: str = ".npy", instances: int = 3) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with (folder / f"{name}{ending}").open("wb") as file:
            np.save(file, np.ones((instances, 4), dtype=np.float32))
    return folder


def loaded(dataset: Tcga) -> Cohort:
    return load_cohort(dataset, discover(("modalities",)).modalities)


@pytest.mark.parametrize(
    ("name", "slide"),
    [
        ("TCGA-49-4488-01Z-00-DX1.A076988C-0000.svs", "TCGA-49-4488-01Z-00-DX1"),
        ("TCGA-49-4488-01Z-00-DX10.6993B7A8.h5", "TCGA-49-4488-01Z-00-DX10"),
        ("TCGA-49-4488-01A-01-TSA.h5", "TCGA-49-4488-01A-01-TSA"),
        ("TCGA-49-4488-01Z-00-DX1_probability.png", "TCGA-49-4488-01Z-00-DX1"),
        ("TCGA-49-4488-01Z-00-DX1", "TCGA-49-4488-01Z-00-DX1"),
        ("TCGA-49-4488-01Z-00-DX1x.h5", None),
        ("TCGA-49-4488-01Z-00-DX.h5", None),
        ("TCGA-49-4488.h5", None),
    ],
)
def test_a_slide_is_everything_before_the_first_dot(name: str, slide: str | None) -> None:
    match = barcodes.SLIDE.match(name)
    assert (match[0] if match else None) == slide


def test_sample_types_10_to_19_are_normal_tissue() -> None:
    kinds = {kind: barcodes.is_normal(f"TCGA-49-4488-{kind}A-01-TS1") for kind in ("01", "06", "10", "11", "19", "20")}
    assert kinds == {"01": False, "06": False, "10": True, "11": True, "19": True, "20": False}


SUITE = """
title = "planned"
datasets = ["{dataset}"]
models = ["cox", "abmil", "late-fusion"]
modalities = {modalities}

[protocol]
folds = 2
fold_source = "{folds}"
"""


def check_and_plan(cli: Cli, home: Path, dataset: str, modalities: list[list[str]], folds: str) -> tuple[str, str]:
    """What `data check` and `run SUITE --dry-run` print of a cohort; both succeed without a problem."""
    Path("planned.toml").write_text(SUITE.format(dataset=dataset, modalities=modalities, folds=folds))
    said = []
    for command in (("data", "check", dataset), ("run", "planned.toml", "--dry-run")):
        ended = cli(*command, env={"FUSIONBENCH_DATA": str(home)})
        assert (ended.returncode, ended.stderr) == (0, "")
        said.append(ended.stdout)
    return said[0], said[1]


@pytest.mark.parametrize("cls", COHORTS, ids=lambda cls: cls.name)
def test_every_cohort_is_checked_and_planned(cls: type[Tcga], home: Path, cli: Cli) -> None:
    """Made files of each cohort: a table with every trap of names, and CLAM's folder with those of files."""
    folder = features(home / "clam" / "h5_files", [s for s in SLIDES if "-DX10." not in s])
    features(folder, [s for s in SLIDES if "-DX10." in s], instances=0)
    features(folder, ["TCGA-ZZ-9999-01Z-00-DX1", "notes", f"._{SLIDES[0]}"])
    (folder / "more.npy").mkdir()
    dataset = f"{made(cls, home).name}[image=dir:{home / 'clam'}]"
    checked, planned = check_and_plan(cli, home, dataset, [["clinical", "omic"], ["image"]], "generated")
    assert "24 cases of 24 groups; overall survival" in checked
    for note in (
        "1 of 28 slides in the table are of normal tissue",
        "1 of 30 files in",
        "2 of 28 slides in the table are of frozen sections",
        "are of patients that the cohort's table does not have, the first is TCGA-ZZ-9999-01Z-00-DX1.npy",
        "are not named by a barcode, the first is notes.npy",
        "1 files have no instance",
        "image: bag of width 4, 24 cases have it, 0 lack it",
    ):
        assert note in checked
    assert "nothing suspicious" in checked
    assert "12 cells to run or to find finished" in planned


@pytest.mark.data
@pytest.mark.parametrize("cls", COHORTS, ids=lambda cls: cls.name)
def test_published_files_are_checked_and_planned(cls: type[Tcga], cli: Cli) -> None:
    real = Path(os.environ.get("FUSIONBENCH_DATA", "/nowhere"))
    published = cls(cls.Options(), real)
    if not all((real / source.path).is_file() for source in published.sources()):
        pytest.skip(f"the files of {cls.name} are not here")
    checked, planned = check_and_plan(cli, real, cls.name, [["clinical", "omic"]], "published")
    assert "5 published folds; fold_source = 'published' uses them" in checked
    assert ("nothing suspicious" in checked) == (cls.name != "tcga-ucec")  # all its patients are women
    assert "20 cells to run or to find finished" in planned


def test_dx10_is_another_slide_than_dx1(home: Path) -> None:
    cases = made(Luad, home).cases("slide")
    assert [c.id for c in cases if c.group == MANY] == [f"{MANY}-01Z-00-DX{n}" for n in (1, 2, 10)]
    folder = features(home / "features", [s for s in SLIDES if s.startswith(MANY)])
    refs = {c.id: c.refs.get("image") for c in made(Luad, home, image=f"dir:{folder}").cases()}
    assert len(refs[MANY]) == 3
    by_slide = {c.id: c.refs.get("image") for c in made(Luad, home, image=f"dir:{folder}").cases("slide")}
    assert by_slide[f"{MANY}-01Z-00-DX10"][0].name.startswith(f"{MANY}-01Z-00-DX10.")


def test_normal_tissue_is_left_out_and_counted(home: Path) -> None:
    """The patient keeps follow-up and omics; the slide is neither a case nor part of a bag."""
    patient, normal = "TCGA-44-4483", "TCGA-44-4483-11A-01-TS1"
    folder = features(home / "features", SLIDES)
    dataset = made(Luad, home, image=f"dir:{folder}")
    (bag,) = [c.refs["image"] for c in dataset.cases() if c.id == patient]
    assert [path.name[:23] for path in bag] == ["TCGA-44-4483-01Z-00-DX1"]
    assert normal not in [c.id for c in dataset.cases("slide")]
    notes = dataset.info().notes
    assert (
        f"1 of 28 slides in the table are of normal tissue (sample types 10 to 19), the first is {normal}; left out"
        in notes
    )
    assert any(
        note.startswith(f"image: 1 of 28 files in {folder} are of normal tissue (sample types 10 to 19)")
        for note in notes
    )
    only = features(home / "only", [s for s in SLIDES if s.startswith(normal)])
    with pytest.raises(DataError, match=r"holds no .* file named by a slide of this cohort"):
        made(Luad, home, image=f"dir:{only}").cases()


def test_frozen_sections_are_told(home: Path) -> None:
    folder = features(home / "features", SLIDES)
    notes = made(Luad, home, image=f"dir:{folder}").info().notes
    frozen = [note for note in notes if "are of frozen sections (TS, BS, MS), the first is" in note]
    assert [note.partition(" are")[0] for note in frozen] == [
        "2 of 28 slides in the table",
        f"image: 2 of 28 files in {folder}",
    ]


def test_slides_without_a_partner_are_counted(home: Path) -> None:
    """One slide of a patient lies in the folder and the table names three; another is in the folder only."""
    more = f"{MANY}-01Z-00-DX3"
    folder = features(home / "features", [s for s in SLIDES if "DX2" not in s and "DX10" not in s] + [more])
    notes = made(Luad, home, image=f"dir:{folder}").info().notes
    assert (
        "image: 2 of 27 slides of the table are not there although another slide of their patient is, the first is "
        f"{MANY}-01Z-00-DX2; the patient has what is there"
    ) in notes
    assert any(note.startswith(f"image: 1 of 26 slides are not in the table, the first is {more};") for note in notes)


def test_slides_of_the_folders_that_clam_makes(home: Path) -> None:
    folder = home / "clam"
    features(folder / "pt_files", SLIDES)
    assert len(made(Luad, home, image=f"dir:{folder}").cases()[0].refs["image"]) == 1
    (folder / "pt_files").rename(folder / "mine")
    with pytest.raises(DataError, match=r"holds no .* file; name one of the folders below it that do: mine \(28\)"):
        made(Luad, home, image=f"dir:{folder}").cases()


def test_an_empty_slide_beside_a_good_one_is_left_out(home: Path) -> None:
    folder = features(home / "features", [s for s in SLIDES if "-DX10." not in s])
    features(folder, [s for s in SLIDES if "-DX10." in s], instances=0)
    dataset = made(Luad, home, image=f"dir:{folder}")
    assert [len(c.refs["image"]) for c in loaded(dataset).cases if c.id == MANY] == [2]
    assert f"image: 1 files have no instance, the first is of {MANY}-01Z-00-DX10; left out" in dataset.info().notes
