"""Of which stored results a file was made: told from their contents."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.results.made_from import RECORD, is_current, note_made_from, stored_contents
from fusionbench.results.store import Store


@pytest.fixture
def made(tmp_path: Path) -> Store:
    """A suite's folder of two cells and an imported model, and a report of these."""
    store = Store(tmp_path, "suite")
    for name in ("cells/a/cell.json", "cells/b/cell.json", "imported/mine.parquet"):
        (store.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (store.folder / name).write_text("{}")
    note_made_from(store, "report.html", stored_contents(store))
    return store


@pytest.mark.parametrize("changed", ["cells/a/cell.json", "cells/c/cell.json", "imported/mine.parquet"])
def test_what_is_changed_or_added_makes_a_file_outdated_and_what_is_removed_does_not(made: Store, changed: str) -> None:
    assert is_current(made, "report.html")
    assert is_current(made, "audit.json") is None
    (made.cells / "b" / "cell.json").unlink()
    assert is_current(made, "report.html")
    (made.folder / changed).parent.mkdir(exist_ok=True)
    (made.folder / changed).write_text("{ }")
    assert is_current(made, "report.html") is False
    note_made_from(made, "audit.json", stored_contents(made))
    assert (is_current(made, "report.html"), is_current(made, "audit.json")) == (False, True)


@pytest.mark.parametrize("content", ["", "[]", '{"report.html": 1}', "\xff"])
def test_a_damaged_record_is_named_with_what_to_do(made: Store, content: str) -> None:
    (made.folder / RECORD).write_bytes(content.encode("latin-1"))
    with pytest.raises(ResultsError, match=f"{RECORD}: cannot be read .*; remove it and run the suite again"):
        is_current(made, "report.html")


def test_a_published_folder_keeps_no_record(tmp_path: Path) -> None:
    note_made_from(Store(tmp_path, "suite"), "report.html", {})
    assert not list(tmp_path.iterdir())
