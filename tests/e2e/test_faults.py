"""Faults with `serial`: the driver dies with its cell, is killed, interrupted, or finds what others have left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name as resolve

import pytest

from tests.conftest import Cli, Outcome
from tests.faults.watching import NO_NAP, PLUGIN, Running, records, same_results
from tests.full_disk import full_disk, small_disk


def run(folder: Path, *args: str, suite: str = "faults-few") -> Outcome:
    """`fusionbench run` with the plugin of faults, undisturbed to its end; stderr and stdout together."""
    (folder / "log.txt").unlink(missing_ok=True)
    status = Running(("run", suite, "--no-track", *args), folder, NO_NAP, warm=True).end(300)
    said = (folder / "log.txt").read_text()
    return Outcome(status, said, said)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of an undisturbed run of faults-slow."""
    folder = tmp_path_factory.mktemp("calm")
    assert run(folder, suite="faults-slow").returncode == 0
    return folder / "results/faults-slow"


@pytest.mark.slow
def test_a_cell_that_kills_the_driver_is_failed_after_its_retries_and_the_others_finish(tmp_path: Path) -> None:
    """Two cells that kill, two attempts each: four runs end, the fifth has nothing to do but to write it down."""
    for n in range(4):
        assert run(tmp_path, suite="faults-kill").returncode == -signal.SIGKILL
        stored = records(tmp_path / "results/faults-kill").values()
        sound = [r for r in stored if r["status"] == "ok"]
        assert len(sound) == min(n, 2), "what was lost before comes after the others"
    last = run(tmp_path, suite="faults-kill")
    assert last.returncode == 1
    failed = [r for r in records(tmp_path / "results/faults-kill").values() if r["status"] == "failed"]
    assert len(failed) == 2
    for record in failed:
        assert "the run ended while it ran this cell" in record["reason"]
        assert record["reason"].endswith("; 2 attempts")
        assert len(record["record"]["attempts"]) == 2
    assert not list((tmp_path / "results/faults-kill/attempts").iterdir())


@pytest.mark.slow
def test_without_retries_one_death_is_enough(tmp_path: Path) -> None:
    args = ("--retries", "0", "--folds", "0")
    assert run(tmp_path, *args, suite="faults-kill").returncode == -signal.SIGKILL
    assert run(tmp_path, *args, suite="faults-kill").returncode == 1
    assert run(tmp_path, *args, suite="faults-kill").returncode == 1
    again = run(tmp_path, *args, "--retry", "failed", suite="faults-kill")
    assert again.returncode == -signal.SIGKILL, "asked for again, it begins anew"


@pytest.mark.slow
def test_a_driver_that_is_killed_goes_on_where_it_was(calm: Path, tmp_path: Path) -> None:
    args = ("run", "faults-slow", "--no-track", "--retries", "100")
    for words in (" to compute", "[2/"):
        driver = Running(args, tmp_path, warm=True)
        driver.wait_for(words)
        driver.kill()
    assert Running(args, tmp_path, NO_NAP, warm=True).end() == 0
    assert "going on where process" in (tmp_path / "log.txt").read_text()
    assert same_results(calm, tmp_path / "results/faults-slow") == []


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_driver_that_is_told_to_end_blames_nobody(tmp_path: Path, number: int, status: int) -> None:
    """However often it is told: whoever is impatient does not cut short what is cleaned up."""
    driver = Running(("run", "faults-slow", "--no-track", "--retries", "0"), tmp_path, warm=True)
    driver.wait_for("[1/")
    for _ in range(3):
        os.kill(driver.process.pid, number)
    assert driver.end() == status
    assert "interrupted: finished cells are kept" in (tmp_path / "log.txt").read_text()
    assert not list((tmp_path / "results/faults-slow/attempts").iterdir())
    assert run(tmp_path, "--retries", "0", suite="faults-slow").returncode == 0


PLACES = {
    "planning": ("fusionbench.tools.run.plan_suite", False),
    "the attempt's beginning": ("fusionbench.results.attempts.Attempts.start", True),
    "fitting": ("fusionbench.execution.run_cell._fit", False),
    "storing": ("fusionbench.results.store.Store.write", False),
    "what comes after storing": ("fusionbench.results.store.Store.write", True),
    "the attempt's end": ("fusionbench.results.attempts.Attempts.finish", False),
    "tables": ("fusionbench.tools.run.write_results", False),
}
"""What a run does to a function in which it is interrupted, and whether that has done its work then."""


@pytest.mark.parametrize("place", PLACES)
def test_an_interrupt_counts_as_no_attempt_whenever_it_comes(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.syspath_prepend(PLUGIN)
    where, afterwards = PLACES[place]
    plain = resolve(where)

    def interrupted(*args: object, **named: object) -> object:
        if afterwards:
            plain(*args, **named)
        patched.undo()
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **named)

    with monkeypatch.context() as patched:
        patched.setattr(where, interrupted)
        ended = cli("run", "faults-few", "--no-track", "--retries", "0")
    assert ended.returncode == 143
    assert "interrupted: finished cells are kept" in ended.stderr
    assert not list(tmp_path.glob("results/faults-few/attempts/*"))
    again = cli("run", "faults-few", "--no-track", "--retries", "0")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_two_drivers_on_the_same_results(tmp_path: Path) -> None:
    args = ("run", "faults-slow", "--no-track", "-m", "faulty[nap=300.0]")
    first = Running(args, tmp_path, warm=True)
    first.wait_for(" to compute")
    second = Running(args, tmp_path / "elsewhere", {"FUSIONBENCH_RESULTS": str(tmp_path / "results")}, warm=True)
    assert second.end() == 2
    said = (tmp_path / "elsewhere/log.txt").read_text()
    assert f"is being computed by process {first.process.pid} on " in said
    assert " since 20" in said
    first.kill()


@pytest.fixture
def small_files() -> Iterator[None]:
    """Nothing may be written that is longer than 1 kB, as on a disk that is nearly full."""
    with full_disk(1024):
        yield


def test_a_disk_that_takes_no_more(
    cli: Cli, tmp_path: Path, small_files: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGIN)
    result = cli("run", "faults-few", "--no-track")
    assert result.returncode == 2
    assert "could not be written" in result.stderr
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("results/faults-few/attempts/*.json")), "a full disk is no cell's fault"


@pytest.mark.parametrize("model", ["faulty", "faulty[fault=write]"])
def test_after_a_full_disk_every_cell_is_computed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Two runs, which is as many as a cell has attempts; also where not the store but the model finds no room."""
    monkeypatch.syspath_prepend(PLUGIN)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    args = ("run", "faults-few", "--no-track", "-m", model)
    suite = tmp_path / "results/faults-few"
    with small_disk(tmp_path / "results", "60k") as grow:
        for _ in range(2):
            full = cli(*args)
            assert full.returncode == 2
            assert "No space left on device" in full.stderr.splitlines()[-1]
            assert not list((suite / "attempts").iterdir())
        assert all(record["status"] == "ok" for record in records(suite).values())
        grow("20m")
        assert cli(*args).returncode == 0
        assert {record["status"] for record in records(suite).values()} == {"ok"}


def test_damaged_cells_are_moved_aside_and_computed_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGIN)
    assert cli("run", "faults-few", "--no-track").returncode == 0
    suite = tmp_path / "results/faults-few"
    shutil.copytree(suite, tmp_path / "before")
    keys = sorted(records(suite))
    (suite / "cells" / keys[0] / "cell.json").write_text("{")
    os.truncate(suite / "cells" / keys[1] / "predictions.parquet", 100)
    (suite / "cells" / keys[2] / "model.safetensors").unlink()
    result = cli("run", "faults-few", "--no-track")
    assert result.returncode == 0, result.stderr
    assert "3 cells computed, 5 were there already" in result.stdout
    assert result.stderr.count("was damaged (") == 3
    assert sorted(p.name for p in (suite / "damaged").iterdir()) == [f"{key}-1" for key in keys[:3]]
    assert same_results(tmp_path / "before", suite) == []


def test_durations_do_not_come_from_the_clock_of_the_day(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that goes back an hour at every look changes nothing."""
    import time

    monkeypatch.syspath_prepend(PLUGIN)
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: next(now))
    assert cli("run", "faults-few", "--no-track").returncode == 0
    for record in records(tmp_path / "results/faults-few").values():
        assert all(0 <= s < 60 for s in record["record"]["seconds"].values())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ("--executor", "raising"),
            "executor 'raising' raised RuntimeError: the queue is gone; finished cells are kept",
        ),
        (("--executor", "forgetful"), "executor 'forgetful' ended with"),
        (("--executor", "threats"), "unknown executor 'threats'; did you mean 'threads'"),
        (("--executor", "threads", "--timeout", "1h"), "executor 'threads' does not support --timeout"),
    ],
)
def test_executors_of_strangers_that_do_not_work(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], words: str
) -> None:
    monkeypatch.syspath_prepend(PLUGIN)
    result = cli("run", "faults-few", "--no-track", *args)
    assert result.returncode == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]


def test_an_executor_of_a_strangers_gives_the_same_numbers(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(PLUGIN)
    for flags in (("--out", "a"), ("--out", "b", "--executor", "threads", "-j", "2")):
        result = cli("run", "faults-few", "--no-track", *flags)
        assert result.returncode == 0, result.stderr
    assert same_results(tmp_path / "a/faults-few", tmp_path / "b/faults-few") == []
    assert not json.loads((tmp_path / "a/faults-few/run.lock").read_text() or "null")
