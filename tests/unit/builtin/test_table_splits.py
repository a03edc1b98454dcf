"""Published splits of a cohort: columns of numbers and words, and the split files of CLAM, PORPOISE and SurvPath."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from fusionbench.builtin.table.published import names
from fusionbench.core.errors import DataError
from fusionbench.core.protocol import Protocol
from fusionbench.core.types import Case
from fusionbench.data.cohort import Cohort
from fusionbench.data.split_files import part_of, split_files
from fusionbench.data.splits import make_folds
from tests.unit.builtin.test_table import cells, read, toml

FILES = Path(__file__).parents[2] / "files" / "splits"
IDS = [f"{i:04d}" for i in range(30)]
SLIDES = [i for k, i in enumerate(IDS) if k % 7]
"""The cases that have slides."""


def column(home: Path, *values: str) -> None:
    """A column `split` with the values in turn, named under `folds`."""
    cells(home, "patients.csv", *((i, "split", values[i % len(values)]) for i in range(30)))
    if "folds" not in (home / "cohort.toml").read_text():
        toml(home, 'id = "patient"\n\n', 'id = "patient"\nfolds = "split"\n\n')


def files(home: Path, kind: str) -> Path:
    shutil.copytree(FILES / kind, home / "splits")
    toml(home, 'id = "patient"\n\n', 'id = "patient"\nsplits = "splits"\n\n')
    return home / "splits"


def parts(cohort: Cohort) -> list[tuple[int, int, int]]:
    return [(len(f.train), len(f.val), len(f.test)) for f in cohort.folds or ()]


def published(cohort: Cohort) -> list[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]:
    """The folds that cells are made of."""
    folds = make_folds(cohort.cases, Protocol(fold_source="published"), 0, 0, cohort.folds)
    return [(f.train, f.val, f.test) for f in folds]


@pytest.mark.parametrize(
    ("word", "part"),
    [
        *((word, "train") for word in ("train", "Train", " TRAINING ")),
        *((word, "val") for word in ("val", "valid", "Validation", "dev")),
        *((word, "test") for word in ("test", "Testing", "holdout", "hold-out", "held_out")),
        *((word, None) for word in ("", "tr", "traintest", "0", "external")),
    ],
)
def test_the_words_of_the_parts(word: str, part: str | None) -> None:
    assert part_of(word) == part


@pytest.mark.parametrize("words", [("train", "dev", "test"), ("Training", "VALID", "Hold-out")])
def test_a_column_of_train_val_and_test_is_one_split(home: Path, words: tuple[str, ...]) -> None:
    """Three cases in five train; the validation cases are those of the column, whatever share the protocol asks for."""
    train, val, test = words
    column(home, train, train, train, val, test)
    cohort = read(home)
    assert parts(cohort) == [(18, 6, 6)]
    ((trained, validated, tested),) = published(cohort)
    assert (validated, tested) == (tuple(IDS[3::5]), tuple(IDS[4::5]))
    assert trained == tuple(i for k, i in enumerate(IDS) if k % 5 < 3)


def test_a_column_of_train_and_test_leaves_the_validation_cases_to_be_chosen(home: Path) -> None:
    column(home, "train", "train", "train", "train", "test")
    cohort = read(home)
    assert parts(cohort) == [(24, 0, 6)]
    ((trained, validated, tested),) = published(cohort)
    assert tested == tuple(IDS[4::5])
    assert validated
    assert set(trained) | set(validated) == set(IDS) - set(tested)


@pytest.mark.parametrize(
    "numbers", [("0", "1", "2"), ("1", "2", "3"), ("fold_8", "fold_9", "fold_10"), ("1.0", "2.0", "3.0")]
)
def test_numbers_of_folds_begin_anywhere(home: Path, numbers: tuple[str, ...]) -> None:
    column(home, *numbers)
    cohort = read(home)
    assert [fold.test for fold in cohort.folds or ()] == [tuple(IDS[i::3]) for i in range(3)]
    assert parts(cohort) == [(20, 0, 10)] * 3


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (("train", "vla", "test"), "'test', 'train', 'vla'; a split has train, test and perhaps val"),
        (("train", "test", "1"), "'1', 'test', 'train'; a split has train, test"),
        (("train", "val"), "'train', 'val'; a split has train, test"),
        (("left", "right"), "'left', 'right'; write the number of the fold that tests a case, or train, val and test"),
        (("1", "?"), "'1', '?'; write the number"),
        (("1",), "holds one value; it needs two"),
    ],
)
def test_other_values_of_the_column_are_listed(home: Path, values: tuple[str, ...], seen: str) -> None:
    column(home, *values)
    with pytest.raises(DataError, match=r"folds: column 'split' of patients\.csv holds") as error:
        read(home)
    assert seen in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["clam", "bool"])
def test_clams_splits_of_slides(home: Path, kind: str) -> None:
    """Both files of a fold say the same, the one with counts is none; slides stand for their cases."""
    files(home, kind)
    cohort = read(home)
    assert parts(cohort) == [(16, 4, 5), (17, 4, 4), (17, 4, 4)]
    for i, (_, validated, tested) in enumerate(published(cohort)):
        assert (validated, tested) == (tuple(SLIDES[i + 3 :: 6]), tuple(SLIDES[i::6]))
    (note,) = cohort.info.notes
    assert note == (
        "splits: 5 cases in no part of a split, the first is '0000' in splits_0.csv: left out of that fold"
    ).replace("splits_0.csv", "splits_0.csv" if kind == "clam" else "splits_0_bool.csv")


def test_porpoises_splits_of_patients(home: Path) -> None:
    files(home, "porpoise")
    cohort = read(home)
    assert parts(cohort) == [(24, 0, 6)] * 5
    assert [fold.test for fold in cohort.folds or ()] == [tuple(IDS[i::5]) for i in range(5)]
    assert cohort.info.notes == (
        "splits: no part is called test, so that val is what is tested, as PORPOISE publishes it",
    )


def test_ids_with_endings_and_folders_and_unknown_ones(home: Path) -> None:
    folder = files(home, "clam")
    for path in folder.glob("splits_?.csv"):
        path.write_text(re.sub(r"(S\d{4}-\d)", r"/slides/\1.svs", path.read_text()).replace("S0003-0", "S003-0"))
    unknown, left = read(home).info.notes
    assert unknown == (
        "splits: 1 of 30 ids are no case, group or slide of this cohort, the first is '/slides/S003-0.svs' (did you "
        "mean 'S0023-0'?): left out"
    )
    assert left.startswith("splits: 6 cases in no part of a split")


def test_a_column_called_train_with_numbers_is_refused(home: Path) -> None:
    """PORPOISE's tables have such a column; two folds are not what its 0 and 1 mean."""
    column(home, "0", "0", "1")
    path = home / "patients.csv"
    path.write_text(path.read_text().replace(",split", ",train", 1))
    toml(home, 'folds = "split"', 'folds = "train"')
    with pytest.raises(
        DataError, match=r"column 'train' of patients\.csv holds '0', '1'; write the number of the fold"
    ):
        read(home)


def test_numbers_that_were_written_with_a_point(home: Path) -> None:
    """A column of whole numbers with empty cells below becomes 12.0 in pandas."""
    cells(home, "patients.csv", *((i, "patient", str(i + 100)) for i in range(30)))
    (home / "cohort.toml").write_text((home / "cohort.toml").read_text().partition("[modality.rna]")[0])
    folder = files(home, "porpoise")
    rows = [f"{i + 100}.0,{i + 120}.0" if i < 10 else f"{i + 100}.0," for i in range(20)]
    for path in folder.iterdir():
        path.unlink()
    (folder / "splits_0.csv").write_text("train,test\n" + "\n".join(rows))
    assert parts(read(home)) == [(20, 0, 10)]


def test_ids_with_strokes_are_not_shortened_to_one() -> None:
    cases = [Case(id_, group, None, {}) for id_, group in (("2019/034", "a"), ("2020/034", "a"), ("2020/035.svs", "b"))]
    known = names(cases, {"S1": "2019/034"})
    assert known["2019/034"] == ["2019/034"]
    assert known["a"] == ["2019/034", "2020/034"]
    assert known["S1"] == ["2019/034"]
    assert known["035"] == ["2020/035.svs"]
    assert "034" not in known


def test_one_file_is_one_split_and_several_are_in_the_order_given(home: Path) -> None:
    files(home, "porpoise")
    toml(home, 'splits = "splits"', 'splits = "splits/splits_3.csv"')
    assert [fold.test for fold in read(home).folds or ()] == [tuple(IDS[3::5])]
    toml(home, 'splits = "splits/splits_3.csv"', 'splits = ["splits/splits_3.csv", "splits/splits_0.csv"]')
    assert [fold.test for fold in read(home).folds or ()] == [tuple(IDS[3::5]), tuple(IDS[0::5])]


def test_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for i in (10, 9, 1):
        (tmp_path / f"splits_{i}.csv").touch()
    assert [path.name for path in split_files(tmp_path)] == ["splits_1.csv", "splits_9.csv", "splits_10.csv"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "splits_0.csv: no columns train and test (or val) of ids; it has 'a', 'b'"),
        ("train,test,testing\n0000,0001,0002\n", "columns 'test' and 'testing' are both the test part; keep one"),
        ("train,test\n0000,0001\n0001,\n", "splits_0.csv: 1 ids stand in both train and test, the first is '0001'"),
        ("train,test\n0000,\n", "splits: splits_0.csv has no case of this cohort in test"),
        (
            "train,test\nS0005-0,S0005-1\n",
            "splits_0.csv has slides of 1 case in both train and test, the first is '0005'",
        ),
        (
            "train,test\np1,p2\n",
            "splits: no id of splits_0.csv is a case, a group or a slide of this cohort ('p1', 'p2' ",
        ),
        ("", "splits_0.csv: cannot be read as a table"),
    ],
)
def test_split_files_that_do_not_fit(home: Path, text: str, said: str) -> None:
    folder = files(home, "porpoise")
    for path in folder.iterdir():
        path.unlink()
    (folder / "splits_0.csv").write_text(text)
    with pytest.raises(DataError) as error:
        read(home)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_splits_that_are_not_there(home: Path) -> None:
    folder = files(home, "porpoise")
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="splits: no such file or folder; looked for"):
        read(home)
    folder.mkdir()
    with pytest.raises(DataError, match=r"splits: holds no \.csv file of a split; looked in"):
        read(home)
    toml(home, 'splits = "splits"', 'splits = "splits"\nfolds = "hospital"')
    with pytest.raises(DataError, match="folds is a column and splits are files; name one of them"):
        read(home)
