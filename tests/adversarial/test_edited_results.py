"""Stored results that somebody edited: `audit` finds each, and `publish` refuses them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file

from fusionbench import discover
from fusionbench.results.cell_files import CELL, PARTS, PREDICTIONS, WEIGHTS, sha256
from fusionbench.session import Session
from fusionbench.suites.selection import Selection
from fusionbench.tools.reporter import SilentReporter

SUITE = """
title = "Mine"
datasets = ["synthetic[cases=80]"]
models = ["cox", "snn", "early-fusion"]
modalities = [["vector"], ["vector", "bag"]]
metrics = ["harrell_c_index", "uno_c_index", "ibs", "d_calibration"]
[protocol]
folds = 2
test_patterns = ["full", "only:*", "shuffle:*"]
mask_draws = 2
[train]
epochs = 2
"""
FILES = "the files of each cell are those that were written"
RECORD = "the record of each cell belongs to its key"
SCORES = "scores follow from the stored predictions"
CODE = "the cells of a row were computed by one code"
LOCK = "the lock is that of the planned cells"
COMPLETE = "every cell of the suite has a result"
REPLAY = "stored weights give the stored predictions again"
ONLY_SNN = Selection(models=("snn",))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with one suite, never changed."""
    root = tmp_path_factory.mktemp("edited")
    (root / "mine.toml").write_text(SUITE)
    session = Session(out=root / "results", device="cpu", registry=discover())
    report = session.run(str(root / "mine.toml"), track=False)
    assert report.complete
    assert not report.failed
    return root


class Run:
    """A copy of the run, to be spoilt."""

    def __init__(self, root: Path) -> None:
        self.suite, self.folder = str(root / "mine.toml"), root / "results/mine"
        self.session = Session(out=root / "results", device="cpu", registry=discover())

    def audit(self, replays: int = 0) -> dict[str, tuple[str, str]]:
        return {line.rule: (line.verdict, line.seen) for line in self.session.audit(self.suite, replays).lines}

    def cells(self, model: str = "snn", modalities: str = "vector") -> list[Path]:
        """Folders of a row's cells, by fold."""
        found = {}
        for path in self.folder.glob(f"cells/*/{CELL}"):
            about = json.loads(path.read_text())["record"]["cell"]
            if (about["model"], about["modalities"]) == (model, modalities):
                found[about["fold"]] = path.parent
        return [found[fold] for fold in sorted(found)]

    def edit(self, folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
        content = json.loads((folder / CELL).read_text())
        change(content)
        (folder / CELL).write_text(json.dumps(content))

    def cover_up(self, folder: Path) -> None:
        """Write checksums that fit the files as they are now."""
        self.edit(folder, lambda cell: cell.update(files={name: sha256(folder / name) for name in PARTS}))


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Run:
    return Run(Path(shutil.copytree(original, tmp_path / "copy")))


def test_an_honest_run_passes(run: Run) -> None:
    found = run.audit(replays=99)
    odd = {rule: line for rule, line in found.items() if line[0] != "pass" and rule != CODE}
    assert not odd  # the code may hold uncommitted changes while it is being written
    assert found[CODE][0] != "BREACH"
    oracle = 2
    assert found[REPLAY] == ("pass", f"{len(list(run.folder.glob('cells/*'))) - oracle} cells")
    assert "more need curves at a model's own times" in found[SCORES][1]


def every_c(run: Run) -> None:
    for folder in run.cells():
        run.edit(
            folder, lambda cell: [s.update(value=0.95) for s in cell["scores"] if s["metric"] == "harrell_c_index"]
        )


def hidden_score(run: Run) -> None:
    """A bad value declared undefined."""
    run.edit(run.cells()[0], lambda cell: cell["scores"][0].update(value=None, reason="no comparable pair"))


def risks_from_times(run: Run) -> None:
    """Risks that know the outcome, with checksums that fit."""
    folder = run.cells()[0]
    table = pd.read_parquet(folder / PREDICTIONS)
    targets = pd.read_csv(run.folder / "targets.csv", dtype={"case": str}).set_index("case")["time"]
    test = table["split"] == "test"
    table.loc[test, "risk"] = -table.loc[test, "case"].map(targets)
    table.to_parquet(folder / PREDICTIONS, index=False)
    run.cover_up(folder)


def other_recipe(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell["record"]["recipe"].update(epochs=200))


def other_horizon(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell["record"]["cell"].update(tau=12.0))


def other_inputs(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell["record"]["ingredients"]["model"].update(options={}))


def other_key(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell.update(key="0" * 20))


def swapped_cells(run: Run) -> None:
    """One row's cell under the key of another row's."""
    mine, theirs = run.cells("snn")[0], run.cells("cox")[0]
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)


def swapped_weights(run: Run) -> None:
    first, second = run.cells()
    shutil.copyfile(first / WEIGHTS, second / WEIGHTS)


def lock_seed(run: Run) -> None:
    lock = run.folder / "suite.lock.toml"
    lock.write_text(lock.read_text().replace("\nseed = 0", "\nseed = 7"))


def lock_version(run: Run) -> None:
    lock = run.folder / "suite.lock.toml"
    lock.write_text(lock.read_text().replace('fusionbench = "0.1.0"', 'fusionbench = "9.9"'))


def lock_fingerprint(run: Run) -> None:
    lock = run.folder / "suite.lock.toml"
    text = lock.read_text()
    known = text.split(".fingerprint]\npatient = ")[1].split("\n")[0]
    lock.write_text(text.replace(known, f'"{"0" * 64}"'))


def lock_options(run: Run) -> None:
    lock = run.folder / "suite.lock.toml"
    lock.write_text(lock.read_text().replace("penalties = 30", "penalties = 100"))


@pytest.mark.parametrize(
    ("spoil", "rule", "said"),
    [
        (every_c, SCORES, "harrell_c_index under full is stored as 0.9500, the predictions give"),
        (hidden_score, SCORES, "is stored as nan, the predictions give"),
        (risks_from_times, SCORES, "harrell_c_index under full is stored as"),
        (other_recipe, RECORD, "the recorded recipe is not the planned one"),
        (other_horizon, RECORD, "the recorded cell is not the planned one"),
        (other_inputs, RECORD, "the recorded inputs have another key"),
        (other_key, RECORD, "its record says key 00000000000000000000"),
        (swapped_cells, RECORD, "its record says key"),
        (swapped_weights, FILES, "model.safetensors is not the file that was written"),
        (lock_seed, LOCK, "cells, datasets differ"),
        (lock_seed, COMPLETE, "none of them has a result"),
        (lock_version, LOCK, "it names fusionbench 9.9, which no cell recorded"),
        (lock_fingerprint, LOCK, "datasets differ"),
        (lock_options, LOCK, "options differ"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_edit_is_a_breach(run: Run, spoil: Callable[[Run], None], rule: str, said: str) -> None:
    spoil(run)
    verdict, seen = run.audit()[rule]
    assert verdict == "BREACH", seen
    assert said in seen


def weights_of_another_fold(run: Run) -> None:
    swapped_weights(run)
    run.cover_up(run.cells()[1])


def scaled_weights(run: Run) -> None:
    folder = run.cells()[0]
    arrays = {name: np.asarray(a * 1.5, dtype=a.dtype) for name, a in load_file(folder / WEIGHTS).items()}
    save_file(arrays, folder / WEIGHTS)
    run.cover_up(folder)


def test_weights_that_fit_no_prediction_are_found_by_replay(run: Run) -> None:
    """One fold's weights in the place of another's, then scaled ones in the first."""
    weights_of_another_fold(run)
    scaled_weights(run)
    found = run.audit(replays=99)
    assert found[FILES][0] == "pass", "whoever edits files can edit their checksums"
    assert found[REPLAY][0] == "BREACH"
    assert found[REPLAY][1].startswith("2 of ")
    assert "stored is" in found[REPLAY][1]


def test_weights_that_were_edited_with_their_predictions_are_found_by_training_again(run: Run) -> None:
    """Whoever scales a linear model's weights and risks together passes a replay of the weights."""
    folder = run.cells("cox")[0]
    table = pd.read_parquet(folder / PREDICTIONS)
    table["risk"] *= 1.5
    table.to_parquet(folder / PREDICTIONS, index=False)
    run.cover_up(folder)
    line = run.session.audit(run.suite, 99, refit=True).lines[-1]
    assert (line.rule, line.verdict) == ("training again gives the stored predictions", "BREACH")
    assert line.seen.startswith("1 of "), "the others are what training gives"
    assert "cox" in line.seen
    assert "stored is" in line.seen


def test_a_rerun_says_when_a_number_changed_under_one_key(run: Run) -> None:
    """A model's code was changed without a new version: the key is the same, the number is not."""
    every_c(run)
    told: list[str] = []

    class Listening(SilentReporter):
        def note(self, line: str) -> None:
            told.append(line)

    report = run.session.run(run.suite, ONLY_SNN, rerun=True, track=False, reporter=Listening())
    assert report.ran
    changed = [line for line in told if "harrell_c_index under full was 0.950000 and is 0." in line]
    assert len(changed) == 2
    assert all("under the same key" in line for line in changed)
    told.clear()
    run.session.run(run.suite, ONLY_SNN, rerun=True, track=False, reporter=Listening())
    assert not [line for line in told if "under the same key" in line]


def test_code_that_changed_between_two_folds_is_named(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell["record"]["source"].update(sha256="0" * 64))
    verdict, seen = run.audit()[CODE]
    assert verdict == "DECLARED"
    assert "its 2 cells were computed by 2 states of the code of fusionbench 0.1.0" in seen


def test_code_that_changed_since_the_run_is_named(run: Run) -> None:
    for folder in run.cells():
        run.edit(folder, lambda cell: cell["record"]["source"].update(sha256="0" * 64))
    verdict, seen = run.audit()[CODE]
    assert verdict == "DECLARED"
    assert "other code than installed" in seen


def test_cells_of_a_row_with_other_threads_are_named(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell["record"]["environment"].update(threads=4))
    verdict, seen = run.audit()[CODE]
    assert verdict == "DECLARED"
    assert (
        "mixed threads: 1 times, first synthetic[cases=80] · snn · vector · base: its 2 cells were computed with "
        in seen
    )
    assert "with 1 and 4 threads" in seen


def test_uncommitted_and_mixed_commits_are_named(run: Run) -> None:
    run.edit(run.cells()[0], lambda cell: cell["record"].update(git_commit="a" * 40 + "-dirty"))
    verdict, seen = run.audit()[CODE]
    assert verdict == "DECLARED"
    assert "uncommitted changes" in seen
    assert "2 cells are of 2 commits" in seen


def test_failed_and_missing_cells_are_named(run: Run) -> None:
    first, second = run.cells()
    run.edit(first, lambda cell: cell.update(status="failed", reason="it diverged", scores=[]))
    shutil.rmtree(second)
    verdict, seen = run.audit()[COMPLETE]
    assert verdict == "DECLARED"
    assert "failed: 1 (" in seen
    assert "missing: 1 (" in seen
