"""Lists, states and start-up time of the command line."""

from __future__ import annotations

import json
import os
import time
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
        ("executors", "serial"),
        ("commands", "slides"),
        ("findings", "published_counts"),
    ],
)
def test_ls(cli: Cli, kind: str, name: str) -> None:
    assert name in cli("ls", kind).stdout
    assert name in {row["name"] for row in json.loads(cli("ls", kind, "--json").stdout)}


@pytest.mark.parametrize("kind", ["datasets", "models", "metrics", "modalities", "executors", "commands", "findings"])
def test_every_entry_says_what_it_is(cli: Cli, kind: str) -> None:
    assert not [row["name"] for row in json.loads(cli("ls", kind, "--json").stdout) if not row["about"]]


def test_plugins_show_a_third_party_package(cli: Cli) -> None:
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


@pytest.mark.parametrize(("args", "seconds"), [(("--help",), 0.4), (("ls", "suites"), 1.0)])
def test_start_up_is_quick(tmp_path: Path, args: tuple[str, ...], seconds: float) -> None:
    """The best of several starts: by the clock on an idle machine; where other work runs beside it, which tests side by
    side always have, the clock counts that too, and processor time is what a start takes of itself."""
    best, compiled = float("inf"), {"PYTHONDONTWRITEBYTECODE": ""}  # as pip leaves an installed package
    idle = os.getloadavg()[0] < 0.5
    for _ in range(20):
        began, before = time.perf_counter(), os.times()
        assert run_cli(args, tmp_path, env=compiled).returncode == 0
        elapsed, after = time.perf_counter() - began, os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        best = min(best, elapsed if idle else spent)
        if best < seconds:
            break
    assert best < seconds
