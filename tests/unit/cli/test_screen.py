"""What stands below the tables of a screen: the meaning of its marks, said once."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fusionbench.cli.screen import View, print_screen
from tests.unit.drawn_results import analysed
from tests.unit.stored_results import DIRECTIONS, make_frames


@pytest.mark.parametrize(("folds", "marked"), [(5, True), (1, False)])
def test_marks_are_explained_once_and_with_one_fold_there_are_none(folds: int, marked: bool) -> None:
    rows = analysed(make_frames({"x": 1.0, "y": 0.9}, folds=folds)).table.rows
    seen = io.StringIO()
    print_screen(Console(file=seen, width=80), "Title", rows, [], DIRECTIONS, View(), [])
    text = seen.getvalue()
    assert (" a\n" in text or " a  " in text) == marked
    assert text.count("bold, a: the best row and those not significantly different from it") == int(marked)
    assert text.count("one fold: rows are not tested against each other") == int(not marked)
    assert f"{folds} fold{'s' if marked else ''}\n" in text
