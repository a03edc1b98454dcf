"""`status` and `why`: what is done, stale, failed, damaged and to do, and which input changed; nothing is mixed."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from fusionbench.results.attempts import Attempts
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.suites.cell import RESULTS_VERSION
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error
from tests.speed.status import invent, measure, suite_file

SUITE = "own"
TEXT = """
title = "Four folds of a model that fits in no time"
datasets = ["example-faulty"]
models = ["example-least-squares"]
modalities = [["table", "tiles"]]

[protocol]
folds = 4
"""


@pytest.fixture
def own(tmp_path: Path, cli: Cli) -> Path:
    """A suite of the user's own that has been run."""
    path = tmp_path / f"{SUITE}.toml"
    path.write_text(TEXT)
    done = cli("run", str(path), "--no-track")
    assert done.returncode == 0, done.stderr
    return path


def state(cli: Cli, suite: str | Path, *flags: str) -> dict[str, Any]:
    result = cli("status", str(suite), "--json", *flags)
    assert result.stderr == ""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def keys(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "results/own/cells").iterdir())


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def counts(found: dict[str, Any]) -> dict[str, int]:
    return {name: n for name, n in found["counts"].items() if n}


def test_before_a_run_everything_is_to_do(cli: Cli, tmp_path: Path) -> None:
    found = state(cli, "example-faulty")
    assert counts(found) == {"to do": 4}
    assert found["seconds_left"] is None
    assert not (tmp_path / "results").exists()


def test_a_finished_suite(cli: Cli, own: Path, tmp_path: Path) -> None:
    found = state(cli, own)
    assert counts(found) == {"done": 4}
    assert found["seconds_left"] == 0
    assert (found["outdated"], found["extra"], found["suite_changes"]) == ([], 0, [])
    told = cli("why", str(own), *PLACE, "0")
    assert told.returncode == 0, told.stderr
    assert "state: done" in told.stdout
    assert "changed: nothing" in told.stdout
    assert "score: full harrell_c_index 0." in told.stdout


PLACE = ("example-faulty", "example-least-squares", "table+tiles")


def test_a_part_is_done_and_the_rest_has_an_estimate(cli: Cli) -> None:
    assert cli("run", "example-faulty", "--folds", "0", "--no-track").returncode == 0
    found = state(cli, "example-faulty")
    assert counts(found) == {"done": 1, "to do": 3}
    (cell,) = Path("results/example-faulty/cells").iterdir()
    took = sum(json.loads((cell / "cell.json").read_text())["record"]["seconds"].values())
    assert found["seconds_left"] == pytest.approx(3 * took)
    shown = cli("status", "example-faulty").stdout
    assert shown.startswith("example-faulty: 1 of 4 cells are done; about a second of one process to go")


def test_another_option_makes_cells_stale_and_says_which(cli: Cli, own: Path, tmp_path: Path) -> None:
    before = keys(tmp_path)
    edit(own, "folds = 4", "folds = 4\n\n[train]\nlr = 0.01")
    found = state(cli, own)
    assert counts(found) == {"stale": 4}
    assert {row["reason"] for row in found["cells"]} == {"train.lr: 0.0005 -> 0.01"}
    assert {row["old"] for row in found["cells"]} == set(before) == {c["key"] for c in found["outdated"]}
    assert found["suite_changes"] == ["train.lr: 0.0005 -> 0.01"]
    told = cli("why", str(own), *PLACE, "2").stdout
    assert "state: stale" in told
    assert "changed: train.lr: 0.0005 -> 0.01" in told

    again = cli("run", str(own), "--no-track")
    assert "4 cells computed, 0 were there already" in again.stdout
    assert "4 stored cells are stale (other inputs than the suite has now) and in no table" in again.stdout
    found = state(cli, own)
    assert counts(found) == {"done": 4}
    assert {c["key"] for c in found["outdated"]} == set(before)


def test_split_and_seed_and_test_patterns_are_named(cli: Cli, own: Path) -> None:
    edit(own, "folds = 4", 'folds = 5\ntest_patterns = ["full", "half"]')
    found = state(cli, own)
    assert counts(found) == {"stale": 4, "to do": 1}
    (reason,) = {row["reason"].split(": ")[0] for row in found["cells"] if row["state"] == "stale"}
    assert reason == "test patterns"
    assert all("split (hash): " in row["reason"] for row in found["cells"] if row["state"] == "stale")
    assert cli("run", str(own), "--no-track", "--seed", "3").returncode == 0
    found = state(cli, own)
    assert counts(found) == {"done": 5}  # as it was last run, with seed 3
    assert found["outdated"] == []  # another seed is another run
    assert found["extra"] == 4


def test_another_plugin_version_is_stale_and_in_no_table(
    cli: Cli, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fusionbench_example.models import LeastSquares

    before = keys(tmp_path)
    monkeypatch.setattr(LeastSquares, "version", "2")
    found = state(cli, own)
    assert {row["reason"] for row in found["cells"]} == {"version of the model's plugin: 1 -> 2"}
    shown = cli("run", str(own), "--no-track", "--folds", "0")
    assert "1 cell computed, 0 were there already" in shown.stdout
    assert "4 stored cells are stale" in shown.stdout
    partial = (tmp_path / "results/own/table.partial.csv").read_text().splitlines()
    assert partial[1].split(",")[10] == "1"  # n_folds: of the new version only
    told = cli("why", str(own), *PLACE, "0").stdout
    assert "state: done" in told
    assert cli("why", str(own), *PLACE, "1").stdout.count("changed: version of the model's plugin: 1 -> 2") == 1
    assert set(before) <= set(keys(tmp_path))


def test_another_version_of_a_metric(cli: Cli, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionbench.builtin.metrics import HarrellC

    monkeypatch.setattr(HarrellC, "version", "9")
    found = state(cli, own)
    assert counts(found) == {"to score": 4}
    assert found["cells"][0]["reason"] == "metric harrell_c_index: 1 -> 9"
    assert "changed: metric harrell_c_index: 1 -> 9" in cli("why", str(own), *PLACE, "0").stdout


def test_results_of_a_newer_fusionbench(cli: Cli, own: Path, tmp_path: Path) -> None:
    for key in keys(tmp_path):
        old = tmp_path / "results/own/cells" / key
        record = json.loads((old / "cell.json").read_text())
        record["record"]["ingredients"]["results_version"] = 99
        (old / "cell.json").write_text(json.dumps(record))
        old.rename(old.with_name("f" * 16 + key[:4]))
    found = state(cli, own)
    assert counts(found) == {"stale": 4}
    assert found["cells"][0]["reason"] == f"RESULTS_VERSION of fusionbench: 99 -> {RESULTS_VERSION}"
    assert len(found["outdated"]) == 4


def test_pruning_takes_the_outdated_alone_and_only_when_asked(cli: Cli, own: Path, tmp_path: Path) -> None:
    old = keys(tmp_path)
    edit(own, "folds = 4", "folds = 4\n\n[train]\nlr = 0.01")
    assert cli("run", str(own), "--no-track").returncode == 0
    assert cli("run", str(own), "--no-track", "-m", "example-least-squares[ridge=1]").returncode == 0
    assert len(keys(tmp_path)) == 12
    assert "outdated: 4 stored cells" in cli("status", str(own)).stdout
    assert len(keys(tmp_path)) == 12
    with hold(tmp_path / "results/own"):
        one_error(cli("status", str(own), "--prune-stale"), "is being computed by process")
    shown = cli("status", str(own), "--prune-stale").stdout
    assert {line.split()[1] for line in shown.splitlines() if line.startswith("removed: ")} == set(old)
    assert len(keys(tmp_path)) == 8
    assert not set(keys(tmp_path)) & set(old)
    found = state(cli, own)
    assert (counts(found), found["outdated"], found["extra"]) == ({"done": 8}, [], 0), (
        "the added row is one of the suite's"
    )


def test_failures_are_grouped_and_explained(cli: Cli) -> None:
    """What is advised can be pasted: it names the results root where that is not the usual one."""
    out = ("--out", "my results")
    assert cli("run", "example-failing", "--no-track", *out).returncode == 1
    result = cli("status", "example-failing", *out)
    assert result.returncode == 1
    assert "failed: 4; again: fusionbench run example-failing --out 'my results' --retry failed" in result.stdout
    assert "  2 x ValueError: this model fails on purpose  [example-faulty · example-failing · " in result.stdout
    key = next(
        row["key"]
        for row in json.loads(cli("status", "example-failing", "--json", *out).stdout)["cells"]
        if "on purpose" in row["reason"]
    )
    assert f"fusionbench why example-failing/{key} --out 'my results']" in result.stdout
    told = cli("why", key[:9], *out)
    assert told.returncode == 0
    assert "reason: ValueError: this model fails on purpose" in told.stdout
    assert "models.py:" in told.stdout
    assert " in fit" in told.stdout
    assert "to do: fusionbench run example-failing --out 'my results' --retry failed" in told.stdout


def test_a_stale_failure_says_what_changed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionbench_example.models import Failing

    assert cli("run", "example-failing", "--no-track").returncode == 1
    monkeypatch.setattr(Failing, "version", "2")
    rows = json.loads(cli("status", "example-failing", "--json").stdout)["cells"]
    stale = [row["reason"] for row in rows if row["state"] == "stale"]
    assert stale == ["version of the model's plugin: 1 -> 2"] * 2


def test_rerun_and_retry(cli: Cli, own: Path, tmp_path: Path) -> None:
    def stamps() -> dict[str, int]:
        return {k: (tmp_path / "results/own/cells" / k / "cell.json").stat().st_mtime_ns for k in keys(tmp_path)}

    before = stamps()
    assert "nothing to do" in cli("run", str(own), "--no-track", "--retry", "failed").stdout
    assert stamps() == before
    assert "4 cells computed" in cli("run", str(own), "--no-track", "--rerun").stdout
    assert before.keys() == stamps().keys()
    assert not set(before.items()) & set(stamps().items())


def test_skips_have_their_reasons(cli: Cli) -> None:
    shown = cli("status", "example-tiny").stdout
    assert "skipped: " in shown
    assert "late fusion needs at least two modalities, not vector" in shown
    told = cli("why", "example-tiny", TINY, "late-fusion[member=cox]", "vector", "0").stdout
    assert "state: skipped" in told
    assert "late fusion needs at least two modalities" in told


TINY = "synthetic[bag_max=15,bag_min=10,cases=80]"


def test_a_changed_member_changes_what_is_built_on_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from fusionbench_controls.cox import Cox

    late = ("-m", "late-fusion[member=cox]", "--folds", "0", "--no-track")
    assert cli("run", "example-tiny", *late).returncode == 0
    monkeypatch.setattr(Cox, "version", "bumped")
    told = cli("why", "example-tiny", TINY, "late-fusion[member=cox]", "vector+bag", "0")
    assert told.returncode == 0, told.stderr
    lines = [line for line in told.stdout.splitlines() if line.startswith("changed: ")]
    assert [line.split(":")[1] for line in lines] == [" member cox on vector", " member cox on bag"]
    member = lines[0].split("fusionbench why ")[1].rstrip(")")
    assert "changed: version of the model's plugin: " in cli("why", member).stdout


def test_while_a_run_is_going_on(cli: Cli, own: Path, tmp_path: Path) -> None:
    folder = tmp_path / "results/own"
    gone, lost = keys(tmp_path)[:2]
    for key in (gone, lost):
        shutil.rmtree(folder / "cells" / key)
    marks = Attempts(folder)
    with hold(folder):
        marks.start(gone, in_driver=True)
        found = state(cli, own)
        assert counts(found) == {"done": 2, "running": 1, "to do": 1}
        assert found["running_by"].startswith(f"process {os.getpid()} on ")
        assert "state: running" in cli("why", str(own), *PLACE, str(fold_of(found, gone))).stdout
    found = state(cli, own)
    assert counts(found) == {"done": 2, "to do": 2}
    assert found["lost"].keys() == {gone}
    assert "it was being computed when process" in cli("status", str(own)).stdout


def fold_of(found: dict[str, Any], key: str) -> int:
    (label,) = (row["label"] for row in found["cells"] if row["key"] == key)
    return int(label.rsplit(" ", 1)[1])


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"key": 1}', "\x00", '{"key":"k","status":"ok","reason":"","scores":[],"grid":[],'
                '"patterns":[],"record":{}}']
)  # fmt: skip
def test_a_damaged_cell_is_counted_and_named(cli: Cli, own: Path, tmp_path: Path, content: str) -> None:
    key = keys(tmp_path)[0]
    (tmp_path / "results/own/cells" / key / "cell.json").write_text(content)
    found = state(cli, own)
    assert counts(found) == {"done": 3, "damaged": 1}
    (row,) = (row for row in found["cells"] if row["state"] == "damaged")
    assert row["key"] == key
    assert f"{key}/cell.json" in row["reason"]
    told = cli("why", str(own), *PLACE, str(fold_of(found, key)))
    assert told.returncode == 0
    assert "state: damaged" in told.stdout


@pytest.mark.parametrize(("keep", "said"), [(0, "/{name}: cannot be read"), (100, ": {name} is cut off")])
def test_a_damaged_table_of_a_cell(cli: Cli, own: Path, tmp_path: Path, keep: int, said: str) -> None:
    """`status` looks at the ends of a cell's files; `why` reads all of it."""
    key = keys(tmp_path)[0]
    path = tmp_path / "results/own/cells" / key / "predictions.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:keep] if keep else whole[:4] + bytes(len(whole) - 8) + whole[-4:])
    found = state(cli, own)
    assert counts(found) == ({"done": 3, "damaged": 1} if keep else {"done": 4})
    told = cli("why", str(own), *PLACE, str(fold_of(found, key))).stdout
    assert "state: damaged" in told
    assert f"{key}{said.format(name=path.name)}" in told
    assert "to do: fusionbench run own\n" in told


@pytest.mark.slow
def test_thousands_of_cells_take_seconds(tmp_path: Path) -> None:
    """Planning, reading and judging, scaled to 5,000 cells, against counting to ten million; fixed costs included."""
    suite, out = suite_file(tmp_path, datasets=1, repeats=4), tmp_path / "results"
    session = Session(out=out, device="cpu")
    n = invent(session.plan(str(suite)), Store(out, suite.stem), {"harrell_c_index": "1", "ibs": "1"})
    assert n > 400

    def ratio() -> float:
        seen = measure(suite, out)
        assert seen["done"] == n
        assert seen["heavy"] == 0, "torch, pandas, scikit-survival, mlflow or ray was imported"
        began = time.process_time()
        for _ in range(10_000_000):
            pass
        return (seen["plan"] + seen["read"] + seen["judge"]) / n * 5000 / (time.process_time() - began)

    assert min(ratio() for _ in range(2)) < 20


@pytest.mark.parametrize("content", ["title = ", "\x00", "", 'suite = "x"', "[suite]\nseed = 1", b"\xff\xfe"])
def test_a_damaged_lock_is_named_and_a_run_mends_it(cli: Cli, own: Path, tmp_path: Path, content: str | bytes) -> None:
    lock = tmp_path / "results/own/suite.lock.toml"
    before = lock.read_text()
    lock.write_bytes(content if isinstance(content, bytes) else content.encode())
    for verb in (("status", str(own)), ("why", str(own), *PLACE, "0"), ("audit", str(own))):
        one_error(cli(*verb), "suite.lock.toml", "run the suite and it is written anew")
    assert cli("run", str(own), "--no-track").returncode == 0
    assert lock.read_text() == before


def test_a_read_only_results_folder(cli: Cli, own: Path, tmp_path: Path) -> None:
    def chmod(files: int, folders: int) -> None:
        for path in [*(tmp_path / "results").rglob("*"), tmp_path / "results"]:
            path.chmod(folders if path.is_dir() else files)

    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").rglob("*")}
    chmod(0o444, 0o555)
    try:
        assert counts(state(cli, own)) == {"done": 4}
        assert "state: done" in cli("why", str(own), *PLACE, "0").stdout
    finally:
        chmod(0o644, 0o755)
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "results").rglob("*")}


def test_what_is_not_there(cli: Cli, own: Path, tmp_path: Path) -> None:
    one_error(cli("status", "quikstart"), "unknown suite 'quikstart'", "did you mean 'quickstart'")
    one_error(cli("status", "./nothing.toml"), "nothing.toml: no such suite file")
    one_error(cli("why", "quikstart", *PLACE, "0"), "unknown suite 'quikstart'")
    one_error(cli("why", str(own), "example-faultx", *PLACE[1:], "0"), "unknown dataset 'example-faultx'")
    one_error(cli("why", str(own), *PLACE, "9"), "has no repeat 0 fold 9", "the last of 4 is repeat 0 fold 3")
    one_error(cli("why", str(own), *PLACE, "0", "--repeat", "7"), "has no repeat 7 fold 0")
    one_error(cli("why", str(own), *PLACE, "0", "--variant", "l1"), "unknown variant 'l1'")
    one_error(
        cli("why", str(own), *PLACE, "one"), "as a cell: write a key, SUITE/KEY, or SUITE DATASET MODEL MODALITIES FOLD"
    )
    (key, *_) = keys(tmp_path)
    assert f"key: {key}" in cli("why", key).stdout
    one_error(cli("why", "a", "b"), "cannot read 'a b' as a cell")
    one_error(cli("why", "xyz"), "'xyz' is no cell key")
    one_error(cli("why", "../../x"), "is no cell key")
    one_error(cli("why", "dead"), "no cell of any suite under results has a key that begins with dead")
    one_error(cli("why", "own/dead"), "no cell of suite own under results has a key that begins with dead")


def test_a_dataset_that_cannot_be_read_is_told_and_the_rest_counted(cli: Cli, tmp_path: Path) -> None:
    home = {"FUSIONBENCH_DATA": str(tmp_path / "nothing")}
    assert cli("run", "example-partly", "-d", "example-faulty", "--no-track", env=home).returncode == 0
    result = cli("status", "example-partly", env=home)
    assert result.returncode == 0, result.stderr
    assert "example-partly: 2 of 2 cells are done" in result.stdout
    assert "not counted, since it cannot be read here: hancock: " in result.stdout


def test_a_published_run_has_no_cells(cli: Cli) -> None:
    root = Path(__file__).parents[2] / "results/published"
    one_error(cli("status", "quickstart", "--out", str(root)), "was published", "fusionbench table quickstart")
