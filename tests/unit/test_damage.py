"""What a crash, a full disk or a hand has done to a stored cell is seen, said and moved out of the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusionbench.cellfiles import CELL, HISTORY, PREDICTIONS, PREPROCESS, WEIGHTS
from fusionbench.damage import damaged, set_aside
from fusionbench.results import CellResult
from fusionbench.store import Store
from tests.unit.test_store import result


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
