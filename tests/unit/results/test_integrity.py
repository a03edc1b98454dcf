"""What a crash, a full disk or a hand has done to a stored cell is seen, said and moved out of the way."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fusionbench.core.cell_result import CellResult
from fusionbench.results.cell_files import CELL, HISTORY, PREDICTIONS, PREPROCESS, WEIGHTS
from fusionbench.results.integrity import damaged, set_aside
from fusionbench.results.store import Store
from fusionbench.tools.status.stored import read_cells
from tests.unit.results.test_store import result


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, "suite")
    made.prepare()
    made.write(result())
    return made


def test_a_sound_cell_stays(store: Store) -> None:
    store.write(CellResult("bad", "failed", "it failed", record={}))
    assert set_aside(store, ("abc", "bad", "none")) == ()
    assert store.keys() == ("abc", "bad")


@pytest.mark.parametrize("name", [CELL, PREDICTIONS, HISTORY, PREPROCESS, WEIGHTS])
@pytest.mark.parametrize("how", ["cut", "empty", "gone", "other"])
def test_damage_is_seen_and_moved_aside(store: Store, name: str, how: str) -> None:
    path = store.cells / "abc" / name
    if how == "gone":
        path.unlink()
    elif how == "other":
        path.write_bytes(b"\xff" * path.stat().st_size)
    else:
        os.truncate(path, 0 if how == "empty" else path.stat().st_size - 3)
    lines = set_aside(store, ("abc",))
    assert len(lines) == 1
    assert name in lines[0]
    assert "computed again" in lines[0]
    assert not store.has("abc")
    assert (store.folder / "damaged/abc-1").is_dir()


def test_a_folder_that_is_damaged_twice(store: Store) -> None:
    for n in (1, 2):
        (store.cells / "abc" / CELL).write_text("")
        assert len(set_aside(store, ("abc",))) == 1
        assert (store.folder / f"damaged/abc-{n}").is_dir()
        store.write(result())


def test_what_is_sound_can_be_loaded(store: Store) -> None:
    """The quick look agrees with the slow one."""
    assert damaged(store, "abc") == ""
    store.load("abc")


@pytest.mark.parametrize("name", [PREDICTIONS, HISTORY, PREPROCESS, WEIGHTS])
def test_status_takes_no_cell_with_a_cut_off_file_for_done(store: Store, name: str) -> None:
    about = {"cell": {"dataset": "d", "model": "m", "modalities": "a", "variant": "base", "repeat": 0, "fold": 0}}
    about["cell"]["seed"] = 0
    for key in ("sound", "torn", "gone"):
        store.write(replace(result(key), record=about))
    os.truncate(store.cells / "torn" / name, (store.cells / "torn" / name).stat().st_size - 3)
    (store.cells / "gone" / name).unlink()
    cells = read_cells(store)
    assert cells.readable.keys() == {"sound"}
    assert f"{name} is cut off" in cells.damaged["torn"]
    assert f"{name} cannot be read: No such file or directory" in cells.damaged["gone"]
    assert all("run the suite" in cells.damaged[key] for key in ("torn", "gone"))
