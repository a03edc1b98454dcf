"""A plugin's command that cannot be called breaks no other: its plugin is listed as broken, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fusionbench.cli import COMMANDS
from fusionbench.core.commands import OWN_COMMANDS
from tests.conftest import Cli

CODE = """
import typer
from fusionbench import hookimpl

mine = typer.Typer(name="NAME", help="Mine.")
BODY

@hookimpl
def fusionbench_commands():
    return [mine]


@hookimpl
def fusionbench_models():
    from fusionbench_controls.cox import Cox

    return [type("Mine", (Cox,), {"__doc__": "A model.", "name": "mine", "version": "1"})]
"""
SAYS_MINE = """
@mine.command()
def main() -> None:
    "Mine."
    typer.echo("mine")
"""


def install(site: Path, name: str, body: str) -> None:
    """A distribution `stranger` with one command and one model."""
    info = site / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"stranger_with_{name}.py").write_text(CODE.replace("NAME", name).replace("BODY", body))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fusionbench]\nstranger = stranger_with_{name}\n")


def test_our_own_names_are_known_to_the_core() -> None:
    assert {*COMMANDS, "data"} == OWN_COMMANDS


@pytest.mark.parametrize("name", ["run", "data"])
def test_our_own_command_wins(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    install(tmp_path / "site", name, SAYS_MINE)
    monkeypatch.syspath_prepend(tmp_path / "site")
    shown = cli("--help")
    assert shown.returncode == 0
    assert sum(line.split()[:1] == [name] for line in shown.stdout.splitlines()) == 1
    assert "mine" not in cli(name, "--help").stdout.split()
    reason = f"commands: {name!r} is fusionbench's own command, which is the one that runs; rename the plugin's"
    (row,) = [row for row in json.loads(cli("plugins", "--json").stdout) if row["name"] == "stranger"]
    assert (row["status"], row["reason"]) == ("broken", reason)
    assert row["provides"] == {"models": ["mine"]}
    assert f"plugin stranger: stranger 1.0 is broken: {reason}" in cli("doctor").stdout
    assert cli("run", "quickstart", "-d", "breast-cancer", "-m", "mine[]", "--dry-run").returncode == 0


def test_a_command_that_typer_cannot_make(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "empty", "")
    monkeypatch.syspath_prepend(tmp_path / "site")
    shown = cli("--help")
    assert shown.returncode == 0
    assert "plugin 'stranger' is broken: command 'empty': " in shown.stderr
    assert "Usage" in shown.stdout
    assert cli("ls", "suites").returncode == 0
    assert cli("empty").returncode == 2
