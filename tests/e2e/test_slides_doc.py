"""docs/slides.md is true: its commands are taken as they stand, and its table names every encoder."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import fusionbench_slides.run
import pytest
from fusionbench_slides.encoders.loading import EncoderChoice
from fusionbench_slides.run import Request

from fusionbench.core.plugin_options import validate_options
from fusionbench.core.registry import discover
from tests.conftest import Cli

TEXT = (Path(__file__).parents[2] / "docs" / "slides.md").read_text(encoding="utf-8")
COMMANDS = [shlex.split(c, comments=True) for c in re.findall(r"^\$ fusionbench (.*)", TEXT, re.MULTILINE)]


def test_every_command_is_understood(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    monkeypatch.setattr(fusionbench_slides.run, "run", asked.append)  # what they do is proven in test_slides.py
    for command in COMMANDS:
        result = cli(*command)
        assert result.returncode == 0, f"{command}: {result.stderr}"
    assert len(asked) == sum(command[0] == "slides" for command in COMMANDS) >= 5
    registry = discover(("encoders",))
    for request in asked:
        validate_options(registry, "encoders", EncoderChoice.parse(request.encoder, request.weights).ref)
    made_by: dict[Path, str] = {}
    for request in asked:
        assert made_by.setdefault(request.out, request.encoder) == request.encoder, "features of two kinds do not mix"


def test_every_encoder_is_in_the_table() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)(?::FILE)?` \|", TEXT, re.MULTILINE)
    assert sorted(rows) == sorted(discover(("encoders",)).names("encoders"))
