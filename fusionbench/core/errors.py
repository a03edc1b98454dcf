"""Errors a user can act on. Every message is one line: what was seen, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FusionBenchError(Exception):
    """Base of every error the harness raises on purpose; the CLI prints it without a traceback."""


class SuiteError(FusionBenchError):
    """A suite, a flag or an option asks for something that does not exist or cannot be."""


class PluginError(FusionBenchError):
    """A plugin could not be loaded, or broke its interface."""


class DataError(FusionBenchError):
    """A data file or a cohort is missing, damaged or inconsistent."""


class ResultsError(FusionBenchError):
    """The results folder cannot be read or written."""


class UndefinedMetric(Exception):
    """A metric has no value on these cases; the argument is the reason. The harness stores NaN and the reason."""


def did_you_mean(kind: str, name: str, choices: Iterable[str]) -> str:
    """One line for an unknown `name`: its nearest neighbours first, then every choice."""
    known = sorted(choices)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = f" Choices: {', '.join(known)}" if known else " There are none."
    return f"unknown {kind} {name!r}{hint}{listed}"
