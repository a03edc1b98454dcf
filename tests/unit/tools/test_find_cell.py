"""Which cell a key names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import ResultsError
from fusionbench.results.store import Store
from fusionbench.tools.find_cell import find_cell


def test_a_key_must_name_one_cell(tmp_path: Path) -> None:
    for suite, key in (("one", "abc"), ("two", "abd"), ("two", "123"), ("two", "abc")):
        Store(tmp_path, suite).write(CellResult(key, "failed", "no", record={}))
    assert find_cell(tmp_path, "1")[1] == "123"
    store, key = find_cell(tmp_path, "two/abc")
    assert (store.suite, key) == ("two", "abc")
    with pytest.raises(ResultsError, match="'ab' names 3 cells: one/abc, two/abc, two/abd; write one of these"):
        find_cell(tmp_path, "ab")
    with pytest.raises(ResultsError, match="has a key that begins with abe; keys: fusionbench status SUITE --json"):
        find_cell(tmp_path, "abe")
    with pytest.raises(ResultsError, match=r"no cell of suite one .*; keys: fusionbench status one --json"):
        find_cell(tmp_path, "one/1")
    for wrong in ("", "xyz", "a/b/c", "one/", "../abc"):
        with pytest.raises(ResultsError, match="is no cell key: write its first digits"):
            find_cell(tmp_path, wrong)
