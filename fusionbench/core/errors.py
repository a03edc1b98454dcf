"""Errors a user can act on. Every message is one line: what was seen, where, and what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Literal


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


class AccessError(ResultsError):
    """A stored file may not be read by this user: nothing is known about what it holds."""


class UndefinedMetric(Exception):
    """A metric has no value on these cases; the argument is the reason. The harness stores NaN and the reason."""


_PERMISSION = "ask its owner for the permission, or work on a copy of your own"
_REMEDIES = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "its file system is read-only: write elsewhere",
    errno.EISDIR: "a folder lies where a file should be: move it away",
    errno.ENOTDIR: "a file lies where a folder should be: move it away",
    errno.EEXIST: "a file lies where a folder should be: move it away",
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "your quota of that disk is used up: make room",
    errno.EIO: "the disk, or the way to it, has failed: look at it, then repeat the command",
    errno.ESTALE: "the folder has moved on its server: go to it anew, then repeat the command",
    errno.EMFILE: "this process may open no more files: allow more with `ulimit -n`",
    errno.ENFILE: "the system can open no more files: end other programs",
}
"""What to do about a file that the system refuses; a missing or a damaged file is not among that."""


_ELSEWHERE = dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS), "choose another place with --out, or with --to where the command has it"
)


def file_problem(path: object, error: object, otherwise: str, *, to: Literal["read", "write"] = "read") -> str:
    """One line for a file that cannot be read or written: which, why, what to do.

    Args:
        otherwise: what to do where the system did not refuse the file, which is missing or damaged then.
        to: what was tried.
    """
    number = (error.errno or 0) if isinstance(error, OSError) else 0
    reason = os.strerror(number) if number in _REMEDIES else getattr(error, "strerror", None) or str(error)
    remedy = _REMEDIES.get(number, otherwise)
    if to == "write":
        remedy = _ELSEWHERE.get(number, remedy)
        return f"{path} could not be written: {reason}; {remedy}"
    return f"{path}: cannot be read ({reason}); {remedy}"


def refused_file(error: OSError) -> str:
    """One line for a file that the system refused in a call that expected no refusal; empty where it names no file."""
    if not isinstance(error.filename, (str, os.PathLike)):
        return ""
    reason = error.strerror or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{os.fspath(error.filename)}: {reason}" + (f"; {remedy}" if remedy else "")


def system_problem(error: OSError, doing: str) -> str:
    """One line for an error of the system that nobody expected where it came up.

    Args:
        doing: what was being done, and in which folder; for an error that names no file.
    """
    if named := refused_file(error):
        return named
    reason = error.strerror or str(error) or type(error).__name__
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{doing}: {reason}" + (f"; {remedy}" if remedy else "")


def did_you_mean(kind: str, name: str, choices: Iterable[str]) -> str:
    """One line for an unknown `name`: its nearest neighbours first, then every choice."""
    known = sorted(choices)
    near = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else "."
    listed = f" Choices: {', '.join(known)}" if known else " There are none."
    return f"unknown {kind} {name!r}{hint}{listed}"
