"""Processes that this program starts: they end with it, and import what it would import."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait

SAFE_PATH = "PYTHONSAFEPATH"
"""Environment variable: Python then leaves the working directory out of where it looks for modules."""
_LOOK = 0.5
"""Seconds between two looks at whether the child still runs."""
_MOST_FILES = 2**16


@contextmanager
def safe_import_path() -> Iterator[None]:
    """Python processes that are started inside do not look for modules in the working directory.

    A file `queue.py` or `random.py` there would be imported in place of the standard library's module.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def end_with_parent(pipe: int | None = None) -> None:
    """To be called first in a child process: it and the processes that it starts end with its parent.

    This holds however the parent ends, also by SIGKILL, and whatever the child is doing. The child becomes the leader
    of a process group, and a small process of its own watches over it: a thread would have to wait for the
    interpreter's lock, which compiled code may keep for hours. Processes that the child has left behind end, too.

    Args:
        pipe: file descriptor of the reading end of a pipe whose other end the parent alone has; None = the one that
            `multiprocessing` has made.
    """
    if pipe is None:
        parent = multiprocessing.parent_process()
        assert parent is not None, "a process that multiprocessing has started"
        pipe = parent.sentinel
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # a Ctrl-C at the terminal then reaches the parent alone, which ends the child
    child = os.getpid()
    if os.fork() == 0:
        try:
            _watch(pipe, child)
        finally:
            os._exit(1)


def _watch(pipe: int, child: int) -> None:
    """Wait until the parent or the child is gone; then end whatever is left of the child's process group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.closerange(0, pipe)  # nobody is to wait for this process to close what the child has opened
    os.closerange(pipe + 1, min(os.sysconf("SC_OPEN_MAX"), _MOST_FILES))  # macOS may say that there is no limit
    while os.getppid() == child and not wait([pipe], timeout=_LOOK):
        pass
    os.killpg(child, signal.SIGKILL)
