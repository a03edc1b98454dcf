"""The best of several seeds or option sets, and rows of mixed or uncommitted code: the table says what is stored."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from fusionbench import discover
from fusionbench.report.stored_beside import TITLE, code_notes
from fusionbench.results.frames import CODE_COLUMNS, read_frames
from fusionbench.session import Session
from fusionbench.suites.selection import Selection

SUITE = """
title = "Mine"
datasets = ["synthetic[cases=80]"]
models = [MODELS]
modalities = [["vector"], ["vector", "bag"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
[train]
epochs = 1
"""


def suite(root: Path, *models: str) -> str:
    path = root / "mine.toml"
    path.write_text(SUITE.replace("MODELS", ", ".join(f'"{m}"' for m in models)))
    return str(path)


def session(root: Path) -> Session:
    return Session(out=root / "results", device="cpu", registry=discover())


def beside(root: Path) -> str:
    """The line of the table on what is stored beside its rows."""
    text = (root / "results/mine/table.md").read_text()
    (line,) = (line for line in text.splitlines() if "stored beside" in line)
    return line.partition(": ")[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("beside")
    session(root).run(suite(root, "cox", "late-fusion[member=cox]"), track=False)
    return root


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy"))


def test_nothing_is_stored_beside_a_first_run(root: Path) -> None:
    assert beside(root) == "no other seed, option set or row of this suite"


def test_other_seeds_option_sets_and_rows_are_counted(root: Path) -> None:
    name = suite(root, "cox", "late-fusion[member=cox]")
    for seed in (1, 2):
        session(root).run(name, selection=Selection(seed=seed), track=False)
    session(root).run(suite(root, "cox[penalties=20]", "survival-forest"), track=False)
    session(root).run(suite(root, "cox", "late-fusion[member=cox]"), track=False)
    line = beside(root)
    assert "cells of 2 other seeds (1, 2)" in line
    assert "4 cells of 2 other option sets (cox[penalties=20] on vector" in line
    assert "4 cells of 2 other rows (survival-forest on vector" in line


def test_older_results_of_the_same_rows_are_counted(root: Path) -> None:
    folder = next(p.parent for p in root.glob("results/mine/cells/*/cell.json"))
    shutil.copytree(folder, folder.parent / "0123456789abcdef")
    session(root).run(str(root / "mine.toml"), track=False)
    assert "1 cell of these rows by other code, data or settings" in beside(root)


def test_mixed_and_uncommitted_code_is_named(root: Path) -> None:
    for path in root.glob("results/mine/cells/*/cell.json"):
        content = json.loads(path.read_text())
        about = content["record"]
        about["git_commit"] = "1234567"
        if about["cell"]["model"] == "cox" and about["cell"]["modalities"] == "vector" and about["cell"]["fold"] == 1:
            about["git_commit"] = "12e4567-dirty"
            about["source"]["sha256"] = "0" * 64
        path.write_text(json.dumps(content))
    session(root).run(str(root / "mine.toml"), track=False)
    text = (root / "results/mine/table.md").read_text()
    assert TITLE in text
    row = "cox on vector, synthetic[cases=80]"
    assert f"a model's code changed between cells: {row}: fusionbench" in text
    assert f"cells are of several commits of fusionbench: {row} (2)" in text
    assert f"computed with uncommitted changes: {row} (1 of 2 cells)" in text
    frames = read_frames(root / "results/mine")
    assert {"1234567", "12e4567-dirty"} <= set(frames.cells["git_commit"])
    assert list(code_notes(frames.cells)), "published frames say it too"


def test_results_without_the_columns_are_read_and_say_nothing(root: Path) -> None:
    path = root / "results/mine/cells.csv"
    pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns=CODE_COLUMNS).to_csv(path, index=False)
    assert list(code_notes(read_frames(root / "results/mine").cells)) == []
    session(root).report(str(root / "mine.toml"))
    assert "stored beside" in (root / "results/mine/report.html").read_text()


def test_a_commit_that_looks_like_a_number_stays_text(root: Path) -> None:
    path = root / "results/mine/cells.csv"
    cells = pd.read_csv(path, dtype=str, keep_default_na=False)
    cells.assign(git_commit="12e4567").to_csv(path, index=False)
    assert set(read_frames(root / "results/mine").cells["git_commit"]) == {"12e4567"}
