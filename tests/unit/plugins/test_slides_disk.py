"""A disk that fills up while pictures, logs and the summary are written: one line, and nothing half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fusionbench_slides.disk import DiskFull
from fusionbench_slides.outcome import Outcome, SlideLog, write_summary
from fusionbench_slides.pictures import Cell, contact_sheets

from tests.full_disk import full_disk

ROWS = [Outcome(f"slide-{i}", 3, 0.5) for i in range(20)]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("summary.csv", lambda folder: write_summary(folder / "summary.csv", ROWS)),
        ("contact_sheet.png", lambda folder: contact_sheets([Cell(folder / "none.png", row) for row in ROWS], folder)),
    ],
)
def test_a_file_keeps_what_it_held(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    (tmp_path / name).write_bytes(b"before")
    with full_disk(100), pytest.raises(DiskFull, match=rf"{name}: the disk is full; free some space and run"):
        write(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"before")]
    write(tmp_path)
    assert (tmp_path / name).stat().st_size > 100
    assert not list(tmp_path.glob("*.part"))


def test_a_log_that_finds_no_room_ends_the_run(tmp_path: Path) -> None:
    log = SlideLog(tmp_path / "a.log")
    with full_disk(100), pytest.raises(DiskFull, match=r"a\.log: the disk is full"):
        log("x" * 200)
