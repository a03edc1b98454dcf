"""What holds of every verb: an error of the system that names no file is one line, and so is an output that is full."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from fusionbench import cli as command_line
from fusionbench.cli.output import BROKEN_PIPE
from tests.conftest import Cli, run_cli

SUITE = "example-faulty"
VERBS = {
    "run": f"run {SUITE} --no-track",
    "status": f"status {SUITE}",
    "why": f"why {SUITE} {SUITE} example-least-squares table+tiles 0",
    "ls": "ls suites",
    "plugins": "plugins",
    "validate": f"validate {SUITE}",
    "table": f"table {SUITE}",
    "report": f"report {SUITE}",
    "audit": f"audit {SUITE}",
    "compare": f"compare {SUITE} example-least-squares mine",
    "score": f"score {SUITE} --metric harrell_c_index",
    "import": f"import {SUITE} mine.csv",
    "predict": f"predict {SUITE}/KEY {SUITE}",
    "publish": f"publish {SUITE}",
    "explain": f"explain {SUITE} -m example-least-squares --case case-01",
    "profile": "profile example-tiny -m snn",
    "tune": "tune example-tiny -m cox --trials 1 --inner-folds 2",
    "sync": "sync",
    "ui": f"ui {SUITE}",
    "doctor": "doctor",
    "new-plugin": "new-plugin mine --kind metric",
    "check": "check example -k documented",
    "data": "data ls",
}


def test_no_verb_is_left_out() -> None:
    assert [*command_line.COMMANDS, "data"] == [*VERBS]


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_an_error_that_names_no_file_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """As libraries raise it that write through a descriptor: with the number of the error alone."""

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    for place in ("core.registry.discover", "cli.new_plugin.scaffold.new_plugin"):
        monkeypatch.setattr(f"fusionbench.{place}", fail)
    ended = cli(*shlex.split(verb))
    doing = f"error: fusionbench {verb} in {Path.cwd()}: Input/output error"
    assert ended.stderr == f"{doing}; the disk, or the way to it, has failed: look at it, then repeat the command\n"
    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with results, and with imported predictions."""
    folder = tmp_path_factory.mktemp("finished")
    ended = run_cli(VERBS["run"].split(), folder)
    assert ended.returncode == 0, ended.stderr
    predictions = pd.read_parquet(folder / "results" / SUITE / "predictions.parquet")
    predictions.assign(model="mine").to_csv(folder / "mine.csv", index=False)
    ended = run_cli(VERBS["import"].split(), folder)
    assert ended.returncode == 0, ended.stderr
    return folder


@contextmanager
def redirected(output: int, told: Path) -> Iterator[None]:
    """Descriptors 1 and 2 lead to `output` and to the file `told`, as in a process that a shell has started."""
    before, kept = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
    error = os.open(told, os.O_CREAT | os.O_WRONLY)
    try:
        os.dup2(output, 1)
        os.dup2(error, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        yield
    finally:
        sys.stdout, sys.stderr = before
        for number, was in enumerate(kept, start=1):
            os.dup2(was, number)
            os.close(was)
        os.close(error)
        os.close(output)


def reader_gone() -> int:
    """The writing end of a pipe that nobody reads any more, as after `| head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("reader", ["full", "gone"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_takes_nothing(
    cli: Cli, finished: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch, verb: str, reader: str
) -> None:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    shutil.copy(empty_store, tmp_path / "results" / "mlflow.db")
    key = min(path.name for path in (tmp_path / "results" / SUITE / "cells").iterdir())
    words = "ui" if verb == "ui" else VERBS[verb].replace("KEY", key)
    if verb == "ui":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # prints its address, and starts no server
    monkeypatch.setattr(sys, "argv", ["fusionbench", *shlex.split(words)])
    output, told = os.open("/dev/full", os.O_WRONLY) if reader == "full" else reader_gone(), tmp_path / "told"
    with pytest.raises(SystemExit) as ended, redirected(output, told):
        command_line.main()
    lines = told.read_text().splitlines()
    errors = [line for line in lines if line.startswith(("error: ", "Traceback"))]
    if reader == "full":
        line = "error: standard output could not be written: No space left on device; what is stored is kept"
        assert (errors, lines[-1], ended.value.code) == ([line], line, 2)
    else:
        assert (errors, ended.value.code) == ([], BROKEN_PIPE)
