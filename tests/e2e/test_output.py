"""Output that cannot be written is one line and a status, in every verb; it makes no cell fail and loses no result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE, Cli
from tests.forking import Forked

FULL = Path("/dev/full")
VERBS = ("--help", "--version", "plugins --json", "run quickstart --dry-run", "table nothing")
"""They differ in what they print with: click, typer.echo and an error; tests/e2e/test_every_verb.py has every verb."""


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"PYTHONPATH": str(EXAMPLE)}


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_is_one_line(tmp_path: Path, verb: str) -> None:
    told = tmp_path / "told"
    status = Forked(verb.split(), tmp_path, environment(), FULL, told).wait(120)
    lines = told.read_text().splitlines()
    assert status == 2
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")


@pytest.mark.parametrize(
    ("redirected", "status", "told"),
    [
        (">/dev/full", 2, "error: standard output could not be written: No space left on device"),
        (">&-", 2, "error: standard output could not be written: it is closed"),
        ("<&- >&-", 2, "error: standard output could not be written: it is closed"),
        ("2>/dev/full", 0, ""),
        ("2>&-", 0, ""),
    ],
)
def test_a_stream_that_a_shell_redirects(tmp_path: Path, redirected: str, status: int, told: str) -> None:
    program = f"{sys.executable} -c 'from fusionbench.cli import main; main()' --version {redirected}"
    ended = subprocess.run(["sh", "-c", program], cwd=tmp_path, text=True, capture_output=True, timeout=60, check=False)
    assert ended.returncode == status
    assert ended.stderr.startswith(told)
    assert len(ended.stderr.splitlines()) == bool(told)
    if not status:
        assert ended.stdout.startswith("fusionbench ")


def test_an_error_that_cannot_be_told_is_a_status(tmp_path: Path) -> None:
    assert Forked(("table", "nothing"), tmp_path, environment(), tmp_path / "out", FULL).wait(60) == 2
    assert (tmp_path / "out").read_text() == ""


@pytest.mark.parametrize("reader", ["goes away", "full"])
def test_a_run_whose_output_nobody_reads_stores_every_cell(cli: Cli, tmp_path: Path, reader: str) -> None:
    """Progress of an epoch is shown inside the training of a cell, which must not fail by it."""
    if reader == "full":
        place = FULL
    else:
        place = tmp_path / "pipe"
        os.mkfifo(place)
        end = os.open(place, os.O_RDONLY | os.O_NONBLOCK)
    run = Forked(("run", "example-tiny", "--no-track"), tmp_path, environment(), place, place)
    if reader == "goes away":
        while run.poll() is None and not _first_line(end):
            time.sleep(0.05)
        os.close(end)
    assert run.wait(120) == (2 if reader == "full" else 141)
    stood = json.loads(cli("status", "example-tiny", "--json").stdout)
    assert stood["counts"]["done"] == len(stood["cells"]) > 1
    assert stood["lost"] == {}
    assert not list(Path("results/example-tiny/attempts").glob("*"))
    assert Path("results/example-tiny/table.md").is_file()


def _first_line(end: int) -> bytes:
    try:
        return os.read(end, 10)
    except BlockingIOError:
        return b""
