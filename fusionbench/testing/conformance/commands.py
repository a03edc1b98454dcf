"""Checks of a command."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import typer
from typer.testing import CliRunner

from fusionbench.core.registry import Registry
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, checks_of
from fusionbench.testing.conformance.declarations import NAME


class CommandSubject:
    """A registered command."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.name = name
        self.app: typer.Typer = registry.get("commands", name)

    @cached_property
    def command(self) -> Any:
        """The command that typer makes of it."""
        return typer.main.get_command(self.app)


CHECKS: Checklist[CommandSubject] = Checklist()


@CHECKS.add(
    "documented",
    "Its name can be typed, and it, its arguments and its options are described.",
    cause="a function without a docstring, or a parameter without `help=`.",
)
def documented(subject: CommandSubject) -> None:
    lacking = list(_lacking(subject.name, subject.command))
    if lacking:
        raise Failure(f"command {subject.name!r} lacks {'; '.join(lacking)}")


def _lacking(name: str, command: Any) -> Iterator[str]:
    if not NAME.fullmatch(name):
        yield "a name of letters, digits, '.', '_' and '-'"
    if not (command.help or "").strip():
        yield f"a description of {name!r}"
    for parameter in command.params:
        if not (getattr(parameter, "help", None) or "").strip():
            yield f"a description of {parameter.name!r} of {name!r}"
    for below, part in getattr(command, "commands", {}).items():
        yield from _lacking(below, part)


@CHECKS.add(
    "answers-help",
    "`--help` prints the usage and does nothing else.",
    cause="a callback that runs before the options are read, or an option that is called `--help`, too.",
)
def answers_help(subject: CommandSubject) -> None:
    result = CliRunner().invoke(subject.app, ["--help"])
    if result.exit_code != 0 or "Usage" not in result.output:
        raise Failure(f"exit status {result.exit_code}, {result.exception!r}, {result.output[:80]!r}")


PROMISES: tuple[Promise[CommandSubject], ...] = tuple(CHECKS.promises)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one command."""
    return checks_of("command", name, lambda: CommandSubject(name, registry), PROMISES)
