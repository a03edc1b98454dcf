"""Which failures may go away when a cell is tried again, and words for what ends a process."""

from __future__ import annotations

import errno
import signal

from fusionbench.core.errors import FusionBenchError

DETERMINISTIC = (
    *(FusionBenchError, ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError),
    *(LookupError, NameError, NotImplementedError, RecursionError, SyntaxError, TypeError, ValueError),
    # of OSError: what is missing or forbidden stays so
    *(FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError),
)
"""A cell computes the same from the same inputs and seeds, so these come again."""
_PASSING = ("out of memory", "allocate memory", "not enough memory", "cuda", "cublas", "cudnn", "nccl", "driver")


def transient(error: BaseException) -> bool:
    """Whether a further attempt may end otherwise.

    Memory that ran out, disks, networks and accelerators are not the cell's own; neither is a class of errors that
    nobody knows here. A plain RuntimeError, which is how torch says nearly everything, counts by its words.
    """
    if isinstance(error, MemoryError | OSError) and not isinstance(error, DETERMINISTIC):
        return True
    if isinstance(error, RuntimeError) and not isinstance(error, DETERMINISTIC):
        return any(word in str(error).lower() for word in _PASSING)
    return not isinstance(error, (*DETERMINISTIC, RuntimeError, SystemExit))


def full_disk(error: BaseException) -> bool:
    """Whether the disk or the user's quota is full: an error of the system, or one that was raised because of it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def ending(exit_code: int) -> str:
    """Why a process is gone, from its exit code; a negative one is a signal."""
    if exit_code >= 0:
        return f"its process ended with exit status {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:  # a real-time signal has no name
        name = f"signal {-exit_code}"
    crashes = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"}
    return f"crashed: {name}" if name in crashes else f"killed: {name}"
