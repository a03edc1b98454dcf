"""Which errors are worth another attempt, and what a process died of."""

from __future__ import annotations

import errno
import signal

import numpy as np
import pytest
import torch

from fusionbench.core.errors import DataError, PluginError
from fusionbench.execution.retry import ending, full_disk, transient


class ThirdPartyError(Exception):
    pass


def error_of(work: object) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        work()  # type: ignore[operator]
    return caught.value


def because(cause: BaseException) -> BaseException:
    error = DataError("features.h5: cannot be written")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (because(OSError(28, "No space left on device")), True),
        (OSError(5, "Input/output error"), False),
        (because(ValueError("28")), False),
    ],
)
def test_a_full_disk_is_known_whoever_met_it(error: BaseException, full: bool) -> None:
    assert full_disk(error) is full


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(5, "Input/output error"),
        ConnectionResetError(),
        TimeoutError(),
        ThirdPartyError("?"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_what_may_pass(error: BaseException) -> None:
    assert transient(error)


@pytest.mark.parametrize(
    "error",
    [
        DataError("a file"),
        PluginError("a plugin"),
        ValueError("a value"),
        np.linalg.LinAlgError("singular"),
        ZeroDivisionError(),
        KeyError("k"),
        FileNotFoundError(2, "No such file"),
        PermissionError(13, "Permission denied"),
        ModuleNotFoundError("no module"),
        RecursionError(),
        NotImplementedError(),
        AssertionError(),
        SystemExit(1),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    ],
)
def test_what_comes_again(error: BaseException) -> None:
    assert not transient(error)


def test_what_torch_and_numpy_really_raise() -> None:
    assert transient(error_of(lambda: torch.empty(2**60, dtype=torch.uint8)))
    assert transient(error_of(lambda: np.ones(2**50)))
    assert not transient(error_of(lambda: torch.ones(2, 3) @ torch.ones(2, 3)))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (-signal.SIGKILL, "killed: SIGKILL"),
        (-signal.SIGSEGV, "crashed: SIGSEGV"),
        (-signal.SIGABRT, "crashed: SIGABRT"),
        (-40, "killed: signal 40"),
        (3, "its process ended with exit status 3"),
        (0, "its process ended with exit status 0"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert ending(code) == words
