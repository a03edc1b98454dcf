"""Lists, states and start-up time of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Cli, run_cli


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("suites", "quickstart"),
        ("datasets", "tcga-blca"),
        ("models", "healnet"),
        ("metrics", "harrell_c_index"),
        ("modalities", "bag"),
    ],
)
def test_ls(cli: Cli, kind: str, name: str) -> None:
    assert name in cli("ls", kind).stdout
    assert name in {row["name"] for row in json.loads(cli("ls", kind, "--json").stdout)}


def test_plugins_show_the_strangers_package(cli: Cli) -> None:
    rows = {row["name"]: row for row in json.loads(cli("plugins", "--json").stdout)}
    assert rows["example"]["distribution"] == "fusionbench-example"
    assert rows["example"]["licence"] == "MIT"
    assert all(row["status"] == "ok" for row in rows.values()), rows


@pytest.mark.parametrize("suite", ["quickstart", "synthetic-fusion", "hancock", "tcga-omics", "tcga-lite"])
def test_shipped_suites_are_in_order(cli: Cli, suite: str) -> None:
    result = cli("validate", suite)
    assert result.returncode == 0, result.stderr


def test_data_ls_shows_terms(cli: Cli) -> None:
    rows = {row["dataset"]: row for row in json.loads(cli("data", "ls", "--json").stdout)}
    assert rows["synthetic"]["state"] == "bundled"
    assert rows["tcga-blca"]["terms"]


BARE = 0.04
"""Seconds that Python itself takes to start on the machine that the limits below are of."""


@pytest.mark.parametrize(("args", "seconds"), [(("--help",), 0.4), (("ls", "suites"), 1.0)])
def test_start_up_is_quick(tmp_path: Path, args: tuple[str, ...], seconds: float) -> None:
    """The best of several starts, since other work on the machine only adds to it; a slower machine has longer."""
    assert run_cli(args, tmp_path).returncode == 0
    bare = min(took(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True)) for _ in range(5))
    limit = seconds * max(1.0, bare / BARE)
    best = float("inf")
    for _ in range(8):
        best = min(best, took(lambda: run_cli(args, tmp_path)))
        if best < limit:
            break
    assert best < limit


def took(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
