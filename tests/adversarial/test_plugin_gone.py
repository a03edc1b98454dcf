"""Results of a plugin that is not installed any more: nothing is deleted, and what is stored stays usable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import EXAMPLE, Cli

SUITE = """
title = "Mine"
datasets = ["synthetic[cases=80]"]
models = ["cox", "example-least-squares"]
modalities = [["vector"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
"""
SOURCE = "fusionbench-example 0.1.0"


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Takes the third-party package off the path."""

    def gone() -> None:
        import sys

        monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(EXAMPLE)])

    return gone


@pytest.fixture
def ran(cli: Cli, tmp_path: Path, uninstall: Callable[[], None]) -> Path:
    """The folder of a suite that was run with a plugin which is gone now."""
    (tmp_path / "mine.toml").write_text(SUITE)
    assert cli("run", "mine.toml", "--no-track").returncode == 0
    uninstall()
    return tmp_path / "results/mine"


def test_status_keeps_its_cells(cli: Cli, ran: Path) -> None:
    before = sorted(path.name for path in (ran / "cells").iterdir())
    result = cli("status", "mine.toml", "--prune-stale")
    assert result.returncode == 0, result.stderr
    assert f"not counted, since its plugin or file is gone or broken: example-least-squares, brought by {SOURCE}" in (
        result.stdout
    )
    assert "kept: 2 stored cells of plugins that are not installed here, or broken" in result.stdout
    (ran.parents[1] / "mine.toml").write_text(SUITE.replace(', "example-least-squares"', ""))
    assert json.loads(cli("status", "mine.toml", "--prune-stale", "--json").stdout)["removed"] == []
    assert sorted(path.name for path in (ran / "cells").iterdir()) == before


@pytest.mark.parametrize(
    "command",
    [("table", "mine.toml"), ("report", "mine.toml"), ("compare", "mine.toml", "cox", "example-least-squares")],
    ids=lambda command: command[0],
)
def test_what_is_stored_is_still_shown(cli: Cli, ran: Path, command: tuple[str, ...]) -> None:
    result = cli(*command)
    assert result.returncode == 0, result.stderr
    if command[0] == "report":
        assert "example-least-squares" in (ran / "report.html").read_text()


def test_the_audit_says_what_it_could_not_look_at(cli: Cli, ran: Path) -> None:
    result = cli("audit", "mine.toml")
    assert result.returncode == 0, result.stderr
    (line,) = (line for line in result.stdout.splitlines() if "every model can be loaded" in line)
    assert line.startswith("DECLARED")
    assert f"example-least-squares: brought by {SOURCE}, which is gone or broken" in line


def test_a_suite_that_the_plugin_brought(cli: Cli, tmp_path: Path, uninstall: Callable[[], None]) -> None:
    """Its lock says what it was."""
    assert cli("run", "example-tiny", "--no-track").returncode == 0
    uninstall()
    for command in (("status",), ("table",), ("report",), ("audit",)):
        result = cli(*command, "example-tiny")
        assert result.returncode == 0, f"{command}: {result.stderr}"
    again = cli("run", "example-tiny")
    assert again.returncode == 2
    assert "no installed plugin brings this suite any more" in again.stderr
