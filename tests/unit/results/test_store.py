"""The store: a cell is there whole or not at all, and comes back as it was."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from fusionbench import SurvivalPrediction
from fusionbench.core.cell_result import CellResult, PatternPrediction, Score
from fusionbench.core.errors import ResultsError
from fusionbench.results import cell_files as cellfiles
from fusionbench.results import store
from fusionbench.results.cell_files import CELL, HISTORY, PREDICTIONS, PREPROCESS, WEIGHTS, survival_column
from fusionbench.results.store import Store
from tests.full_disk import full_disk

GRID = np.linspace(0.0, 60.0, 21)[1:]
REASON = "no event among the test cases"


def predicted(split: str, pattern: str, draw: int, n: int = 7, with_survival: bool = True) -> PatternPrediction:
    rng = np.random.default_rng([n, draw])
    survival = np.sort(rng.random((n, len(GRID))), axis=1)[:, ::-1].copy() if with_survival else None
    prediction = SurvivalPrediction(
        tuple(f"{split}-{i}" for i in range(n)), rng.normal(size=n), survival, GRID if with_survival else None
    )
    return PatternPrediction(split, pattern, draw, prediction, n_prior=draw, realised=0.1 * draw)  # type: ignore[arg-type]


def result(key: str = "abc", noise: int = 0) -> CellResult:
    return CellResult(
        key=key,
        status="ok",
        predictions=(
            predicted("val", "full", 0, 3),
            predicted("test", "full", 0),
            *(predicted("test", "half", draw) for draw in range(3)),
        ),
        scores=(
            Score("full", "harrell_c_index", 1 / 3, "", 7, 2),
            Score("half", "ibs", math.nan, REASON, 7),
            Score("half", "harrell_c_index", 0.5, "1 of 3 draws undefined: x", 7),
        ),
        history=((1, "train", "loss", 0.7), (1, "val", "loss", math.nan), (2, "fit", "rate", 1e-300)),
        record={"cell": {"model": "snn"}, "notes": ["ä"], "seconds": {"fit": 0.1}},
        preprocess={"clinical": {"ledger": ["a", "b"], "mean": [0.1, 1e-17]}},
        state={
            "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
            "steps": np.array(7, dtype=np.int64),
            "mask": np.array([True, False]),
            "nothing": np.zeros((0, 3)),
            "exact": np.array([1 / 3, np.nan, -np.inf]),
            "bulk": np.random.default_rng(noise).random(20_000),
        },
    )


@pytest.fixture
def made(tmp_path: Path) -> Store:
    prepared = Store(tmp_path / "results", "suite")
    prepared.prepare()
    return prepared


def assert_same(back: CellResult, was: CellResult) -> None:
    assert (back.key, back.status, back.reason, back.record) == (was.key, was.status, was.reason, was.record)
    assert back.preprocess == was.preprocess
    assert repr(back.scores) == repr(was.scores)  # NaN is not equal to itself
    assert repr(back.history) == repr(was.history)
    assert back.state.keys() == was.state.keys()
    for name, array in was.state.items():
        assert back.state[name].dtype == array.dtype
        assert back.state[name].shape == array.shape
        np.testing.assert_array_equal(back.state[name], array)
    for one, other in zip(back.predictions, was.predictions, strict=True):
        assert (one.split, one.pattern, one.draw) == (other.split, other.pattern, other.draw)
        assert (one.n_prior, one.realised) == (other.n_prior, other.realised)
        assert one.prediction.ids == other.prediction.ids
        for name in ("risk", "survival", "times"):
            np.testing.assert_array_equal(getattr(one.prediction, name), getattr(other.prediction, name))


def entries(folder: Store) -> list[str]:
    return sorted(p.name for p in folder.cells.iterdir())


def test_a_result_comes_back_as_it_was(made: Store) -> None:
    assert made.write(result()) == made.cells / "abc"
    assert_same(made.load("abc"), result())
    assert made.load("abc", weights=False).state == {}
    assert sorted(p.name for p in (made.cells / "abc").iterdir()) == sorted(
        [CELL, PREDICTIONS, HISTORY, PREPROCESS, WEIGHTS]
    )
    assert made.has("abc")
    assert not made.has("ab")
    assert made.keys() == ("abc",)


def test_a_prediction_without_survival_beside_one_with_it(made: Store) -> None:
    mixed = replace(result(), predictions=(predicted("val", "full", 0), predicted("test", "full", 0, 4, False)))
    made.write(mixed)
    assert_same(made.load("abc"), mixed)
    none = replace(result(), predictions=(predicted("test", "full", 0, 4, False),))
    made.write(none)
    assert_same(made.load("abc"), none)


def test_a_failed_cell_is_its_record_alone(made: Store) -> None:
    failed = CellResult("k", "failed", "DataError: no event", record={"traceback": "..."})
    made.write(failed)
    assert [p.name for p in (made.cells / "k").iterdir()] == [CELL]
    assert_same(made.load("k"), failed)


def test_a_model_without_arrays_or_history(made: Store) -> None:
    bare = replace(result(), state={}, history=())
    made.write(bare)
    assert_same(made.load("abc"), bare)
    assert made.history("abc").empty


def test_cell_json_is_json(made: Store) -> None:
    """NaN is no JSON; other programs read it, too."""
    made.write(result())

    def refuse(name: str) -> float:
        raise AssertionError(name)

    record = json.loads((made.cells / "abc" / CELL).read_text(), parse_constant=refuse)
    assert [s["value"] for s in record["scores"]] == [1 / 3, None, 0.5]


def test_parquet_is_what_pandas_would_write(made: Store) -> None:
    """A cell stored by either is read alike, also together in one frame: same types, NaN as null, same names."""
    made.write(replace(result(), predictions=(predicted("val", "full", 0), predicted("test", "full", 0, 4, False))))
    for name in (PREDICTIONS, HISTORY):
        path = made.cells / "abc" / name
        ours, types = pd.read_parquet(path), parquet.read_schema(path)
        ours.to_parquet(path, index=False)
        assert types.equals(parquet.read_schema(path))
        assert parquet.read_table(path).column(-1).null_count == ours.iloc[:, -1].isna().sum() > 0
    pd.testing.assert_frame_equal(made.predictions("abc"), pd.read_parquet(made.cells / "abc" / PREDICTIONS))


def test_predictions_are_a_tidy_frame(made: Store) -> None:
    made.write(result())
    frame = made.predictions("abc")
    assert list(frame.columns[:5]) == ["split", "pattern", "draw", "case", "risk"]
    assert list(frame.columns[5:7]) == ["S_3", "S_6"]
    assert frame.groupby(["split", "pattern"]).size().to_dict() == {
        ("test", "full"): 7,
        ("test", "half"): 21,
        ("val", "full"): 3,
    }


@pytest.mark.parametrize(
    ("month", "name"), [(3.0, "S_3"), (60.0, "S_60"), (100.0, "S_100"), (0.5, "S_0.5"), (2.57145, "S_2.5715")]
)
def test_columns_are_named_by_month(month: float, name: str) -> None:
    assert survival_column(month) == name


def test_writing_again_replaces_the_whole(made: Store) -> None:
    made.write(result())
    made.write(CellResult("abc", "failed", "this time"))
    assert entries(made) == ["abc"]
    assert [p.name for p in (made.cells / "abc").iterdir()] == [CELL]


# What the disk refuses


@pytest.mark.parametrize("size", [0, 3_000, 60_000])
def test_a_full_disk_leaves_nothing_under_the_final_name(made: Store, size: int) -> None:
    with full_disk(size), pytest.raises(ResultsError, match=r"abc could not be written: \S"):
        made.write(result())
    assert entries(made) == []
    made.write(result())
    assert_same(made.load("abc"), result())


def test_the_limits_above_stop_at_the_weights_and_before(made: Store) -> None:
    """Otherwise the test above would not say what it seems to say."""
    made.write(result())
    sizes = {p.name: p.stat().st_size for p in (made.cells / "abc").iterdir()}
    assert sizes[WEIGHTS] > 60_000 > sizes[PREDICTIONS] > 3_000 > sizes[PREPROCESS]


def test_a_full_disk_leaves_the_result_that_was_there(made: Store) -> None:
    made.write(result())
    with full_disk(3_000), pytest.raises(ResultsError):
        made.write(result(noise=1))
    assert entries(made) == ["abc"]
    assert_same(made.load("abc"), result())


@pytest.mark.parametrize("step", ["_write_predictions", "_write_history", "_write_arrays", "_fsync"])
def test_any_step_may_fail(made: Store, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(store if step == "_fsync" else cellfiles, step, fail)
        with pytest.raises(ResultsError, match="No space left on device"):
            made.write(result())
    assert entries(made) == []


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two names in one step."""
    monkeypatch.setattr("fusionbench.results.replace_folder._exchanged", lambda one, other: False)


@pytest.mark.usefixtures("no_exchange")
def test_a_rename_that_fails_brings_the_old_result_back(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made.write(result())
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if Path(target) == made.cells / "abc" and "old" not in self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(ResultsError, match="Input/output error"):
            made.write(result(noise=1))
    assert_same(made.load("abc"), result())


def test_what_is_no_fault_of_the_disk_leaves_nothing_either(made: Store) -> None:
    with pytest.raises(TypeError):
        made.write(replace(result(), record={"not JSON": object()}))
    assert entries(made) == []


CRASH = """
import os, runpy, sys
from pathlib import Path
from fusionbench.results import cell_files as cellfiles, store
module = runpy.run_path(sys.argv[1])
setattr({"cellfiles": cellfiles, "store": store}[sys.argv[3]], sys.argv[4], lambda *args: os._exit(9))
store.Store(Path(sys.argv[2]), "suite").write(module["result"]())
"""


@pytest.mark.parametrize("step", [("cellfiles", "_write_arrays"), ("store", "_fsync")])
def test_a_crash_half_way_leaves_nothing_under_the_final_name(made: Store, step: tuple[str, str]) -> None:
    command = [sys.executable, "-c", CRASH, __file__, str(made.root), *step]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == 9
    assert len(entries(made)) == 1, "the crash came too early to show anything"
    assert not made.has("abc")
    assert made.keys() == ()
    made.write(result())
    assert made.keys() == ("abc",)
    assert_same(made.load("abc"), result())


def test_what_a_crash_left_goes_and_what_another_run_is_writing_stays(made: Store) -> None:
    left = made.cells / ".tmp-1-abc"
    left.mkdir()
    (left / "part").write_text("half")
    made.prepare()
    assert entries(made) == [left.name], "it may be of the run that holds the lock"
    made.clear_interrupted()
    assert entries(made) == []


def test_a_leftover_of_the_same_process_number_is_no_hindrance(made: Store) -> None:
    left = made.cells / f".tmp-{os.getpid()}-abc"
    left.mkdir()
    (left / "part").write_text("half")
    made.write(result())
    made.write(result(noise=1))
    assert entries(made) == ["abc"]
    assert_same(made.load("abc"), result(noise=1))


@pytest.mark.usefixtures("no_exchange")
def test_a_result_is_replaced_where_names_cannot_be_exchanged(made: Store) -> None:
    made.write(result())
    made.write(result(noise=1))
    assert entries(made) == ["abc"]
    assert_same(made.load("abc"), result(noise=1))


def test_a_result_that_a_killed_process_moved_aside_is_put_back(made: Store) -> None:
    """It was killed between two renames: the old result had left its name, the new one did not have it yet."""
    made.write(result())
    (made.cells / "abc").rename(made.cells / ".old-abc")
    made.clear_interrupted()
    assert entries(made) == ["abc"]
    assert_same(made.load("abc"), result())


# Where nothing can be written


def test_a_file_in_the_way_is_found_before_any_compute(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(ResultsError, match=r"results folder .* cannot be written: .*; choose another with --out"):
        Store(tmp_path / "results", "suite").prepare()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder_is_found_before_any_compute(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ResultsError, match="Permission denied; choose another with --out"):
        Store(tmp_path, "suite").prepare()


def test_a_read_only_file_system_is_found_before_any_compute(made: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(ResultsError, match="Read-only file system; choose another with --out"):
        made.prepare()


# What has been damaged


@pytest.mark.parametrize("content", ["", '{"key": "abc"', "[]", "null", '{"key": "abc"}', "\xff"])
def test_a_damaged_record_says_which_file_and_what_to_do(made: Store, content: str) -> None:
    made.write(result())
    path = made.cells / "abc" / CELL
    path.write_bytes(content.encode("latin-1"))
    for read in (made.record, made.load):
        with pytest.raises(ResultsError) as caught:
            read("abc")
        assert str(caught.value).startswith(f"{path}: cannot be read (")
        assert str(caught.value).endswith("remove the folder and run the suite again")


def test_an_unknown_cell(made: Store) -> None:
    with pytest.raises(ResultsError, match=r"nothing/cell\.json: cannot be read"):
        made.load("nothing")


@pytest.mark.parametrize("name", [PREDICTIONS, HISTORY, PREPROCESS, WEIGHTS])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_part_says_which_file_and_what_to_do(made: Store, name: str, damage: str) -> None:
    made.write(result())
    path = made.cells / "abc" / name
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ResultsError, match=rf"{name}: cannot be read .* remove the folder and run the suite again"):
        made.load("abc")


# Files of the suite


def test_a_suites_files_are_replaced_whole(made: Store) -> None:
    frame = pd.DataFrame({"x": [1.5, math.nan]})
    assert made.write_text("table.md", "old") == made.folder / "table.md"
    assert made.write_frame("splits.parquet", frame) == made.folder / "splits.parquet"
    pd.testing.assert_frame_equal(pd.read_parquet(made.folder / "splits.parquet"), frame)
    with full_disk(1), pytest.raises(ResultsError, match=r"table\.md could not be written: File too large"):
        made.write_text("table.md", "new")
    with full_disk(1), pytest.raises(ResultsError, match=r"splits\.parquet could not be written"):
        made.write_frame("splits.parquet", frame)
    assert (made.folder / "table.md").read_text() == "old"
    pd.testing.assert_frame_equal(pd.read_parquet(made.folder / "splits.parquet"), frame)
    assert sorted(p.name for p in made.folder.iterdir()) == ["cells", "splits.parquet", "table.md"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 128 KiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if os.geteuid() or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("only root, where it may mount, has a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    """The first result has 160 KB and finds no room; a smaller one does, and nothing of the first is left."""
    made = Store(small_disk, "suite")
    made.prepare()
    with pytest.raises(ResultsError, match=r"abc could not be written: No space left on device; make room"):
        made.write(result())
    assert entries(made) == []
    small = replace(result(), state={})
    made.write(small)
    with pytest.raises(ResultsError, match="No space left on device"):
        made.write(result(noise=1))
    assert_same(made.load("abc"), small)
    assert entries(made) == ["abc"]
