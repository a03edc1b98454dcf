"""One study, wherever it lies and however its files are named: the same keys and the same numbers, bit by bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from fusionbench.execution.run_cell import fit_seed
from fusionbench.results.store import Store
from fusionbench.session import Session
from tests.conftest import Cli
from tests.own_cohort import TOML, write_cohort

STUDY = """
title = "One study"
datasets = ["table[file=COHORT]"]
models = ["early-fusion"]
modalities = [["clinical", "slides"]]
[protocol]
folds = 2
train_pattern = "half"
test_patterns = ["full", "half"]
[train]
epochs = 1
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "study"
    (folder / "data").mkdir(parents=True)
    write_cohort(folder / "data", 40)
    write_study(folder, "data/cohort.toml")
    return folder


def write_study(folder: Path, cohort: str) -> None:
    (folder / "study.toml").write_text(STUDY.replace("COHORT", cohort))


def here(home: Path) -> tuple[Path, str]:
    return home, "study.toml"


def in_a_folder(home: Path) -> tuple[Path, str]:
    return home.parent, f"{home.name}/study.toml"


def by_an_absolute_path(home: Path) -> tuple[Path, str]:
    return home.parent.parent, str(home / "study.toml")


def written_in_another_way(home: Path) -> tuple[Path, str]:
    """Of the cohort's TOML an absolute path, with features and a table elsewhere, links, and separators too many."""
    elsewhere = home.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("features", "rna.csv"):
        shutil.move(home / "data" / name, elsewhere / name)
    (home / "data/linked").symlink_to(elsewhere / "features")
    (home / "data/patients.csv").rename(home / "data/people.tsv.csv")
    text = TOML.replace('"features"', '"./linked//"').replace('"rna.csv"', f'"{elsewhere}/rna.csv"')
    (home / "data/mine.toml").write_text(text.replace('"patients.csv"', '"../data/people.tsv.csv"'))
    (home / "data/cohort.toml").unlink()
    write_study(home, str(home / "data/mine.toml"))
    return home, "./study.toml"


def rewritten(home: Path) -> tuple[Path, str]:
    """Rows in another order, lines that end as on Windows, another separator; the suite writes `./` and spaces."""
    data = home / "data"
    patients = pd.read_csv(data / "patients.csv", dtype=str, keep_default_na=False)
    patients[::-1].to_csv(data / "patients.csv", index=False, sep=";", lineterminator="\r\n")
    for name in ("rna.csv", "slides.csv"):
        frame = pd.read_csv(data / name, dtype=str, keep_default_na=False)
        frame.sample(frac=1, random_state=0).to_csv(data / name, index=False, sep=";", lineterminator="\r\n")
    (data / "cohort.toml").write_text('separator = ";"\n' + (data / "cohort.toml").read_text())
    write_study(home, "./data//cohort.toml")
    return home, "study.toml"


PLACES: list[Callable[[Path], tuple[Path, str]]] = [
    in_a_folder,
    by_an_absolute_path,
    written_in_another_way,
    rewritten,
]


def run(place: tuple[Path, str], out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, name = place
    monkeypatch.chdir(folder)
    assert Session(out=out, device="cpu", threads=1).run(name, track=False).complete


@pytest.fixture(scope="module")
def usual(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results root of the study, run where it lies."""
    out = tmp_path_factory.mktemp("usual") / "results"
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(here(template), out, monkeypatch)
    return out


def numbers(root: Path) -> tuple[dict[str, bytes], pd.DataFrame]:
    """Key to the bytes of the predictions; the table without the names of datasets."""
    cells = Store(root, "study").cells
    predictions = {p.parent.name: p.read_bytes() for p in sorted(cells.glob("*/predictions.parquet"))}
    return predictions, pd.read_csv(root / "study/table.csv").drop(columns="dataset")


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_keys_and_numbers_are_the_same_everywhere(
    place: Callable[[Path], tuple[Path, str]],
    template: Path,
    usual: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = shutil.copytree(template, tmp_path / "some where" / "else")
    run(place(home), tmp_path / "results", monkeypatch)
    predictions, table = numbers(tmp_path / "results")
    expected, expected_table = numbers(usual)
    assert predictions.keys() == expected.keys()
    assert predictions == expected
    pd.testing.assert_frame_equal(table, expected_table, check_exact=True)


def test_the_home_folder_is_a_place_like_others(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    home = shutil.copytree(template, tmp_path / "mine")
    monkeypatch.chdir(tmp_path.parent)
    session = Session(out=tmp_path / "results", device="cpu", threads=1)
    usual = session.plan(str(home / "study.toml"))
    write_study(home, "~/mine/data/cohort.toml")
    cells = session.plan("~/mine/study.toml").cells
    assert [c.key for c in cells] == [c.key for c in usual.cells]
    assert [fit_seed(c) for c in cells] == [fit_seed(c) for c in usual.cells]
    assert {c.cohort_name for c in cells} == {"table"}
    assert {(str(c.dataset), c.dataset.folder) for c in usual.cells} == {("table[file=data/cohort.toml]", str(home))}


def test_moved_results_belong_to_a_moved_study(cli: Cli, template: Path, usual: Path, tmp_path: Path) -> None:
    shutil.copytree(template, tmp_path / "new place/copy")
    shutil.copytree(usual, tmp_path / "moved results")
    study, out = "new place/copy/study.toml", ("--out", "moved results")
    assert "study: 2 of 2 cells are done" in cli("status", study, *out).stdout
    told = cli("run", study, "--no-track", *out)
    assert "nothing to do" in told.stdout, told.stdout + told.stderr
    assert cli("doctor", study, *out).returncode == 0, "the cohort is looked for beside the study"
    audit = cli("audit", study, *out)
    assert audit.returncode == 0, audit.stdout + audit.stderr
