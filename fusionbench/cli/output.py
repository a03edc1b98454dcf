"""Standard output and error of a verb: what cannot be written is told once, at the end, and stops no compute.

A write that fails (a full disk, a closed pipe) would otherwise raise wherever something is shown: in the training of a
cell, which would be stored as failed, or between a result and its marker.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STANDARD = (0, 1, 2)
"""Descriptors of standard input, output and error."""
BROKEN_PIPE = 141
"""Exit status where the reader went away, as of a process that SIGPIPE has ended: `| head -1` is no mistake."""
FAILED = 2


class Tolerant(io.FileIO):
    """A file descriptor whose writes never raise: the first failure is kept, and from then on nothing is written.

    Attributes:
        failure: why something was not written; None where everything was.
    """

    def __init__(self, number: int, *, closed: bool) -> None:
        """`closed`: the descriptor was closed before the start."""
        super().__init__(number, "wb", closefd=False)
        self.failure: OSError | None = None
        self.refusal = OSError(errno.EBADF, "it is closed") if closed else None

    def write(self, content: ReadableBuffer, /) -> int:
        """Write, or drop what cannot be written."""
        size = memoryview(content).nbytes
        self.failure = self.failure or self.refusal
        if self.failure is not None:
            return size
        try:
            return super().write(content) or 0
        except OSError as error:
            self.failure = error
            return size


@contextmanager
def checked_output() -> Iterator[None]:
    """Both streams while inside; afterwards one line about what could not be written, and exit status 2.

    A stream that was closed before the start (`>&-`) is opened on the null device, since the next file opened would
    have its number and be written into by whatever prints. Streams that are not the system's (in tests, in a
    notebook) stay as they are.
    """
    _open_closed()
    before = sys.stdout, sys.stderr
    ours = []
    if _writes_to(1, sys.stdout):
        sys.stdout, output = _tolerant(1, sys.stdout)
        ours.append(output)
    if _writes_to(2, sys.stderr):
        sys.stderr, error = _tolerant(2, sys.stderr)
        ours.append(error)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before
        failed = {raw.fileno(): raw.failure for raw in ours if raw.failure is not None}
        if failed and not isinstance(sys.exc_info()[1], Exception):  # a fault of ours keeps its traceback
            _end(failed)


def _writes_to(number: int, stream: TextIO | None) -> bool:
    """Whether it is the stream of a descriptor; None where that was closed when Python started."""
    try:
        return stream is None or stream.fileno() == number
    except (OSError, ValueError):  # it has none: in a test, in a notebook
        return False


def _open_closed() -> None:
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _tolerant(number: int, stream: TextIO | None) -> tuple[TextIO, Tolerant]:
    """A stream with the same encoding; of one that was closed when Python started, UTF-8."""
    if stream is not None:
        stream.flush()
    raw = Tolerant(number, closed=stream is None)
    encoding, errors = ("utf-8", "replace") if stream is None else (stream.encoding, stream.errors)
    lines = number == 2 or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors, line_buffering=lines), raw


def _end(failed: Mapping[int, OSError]) -> None:
    """Exit with the status of what failed, after a line on standard error where that can still be written."""
    told = {number: error for number, error in failed.items() if not isinstance(error, BrokenPipeError)}
    if not told:
        raise SystemExit(BROKEN_PIPE)
    if 2 not in failed:
        error = told[1]
        line = f"error: standard output could not be written: {error.strerror or error}; what is stored is kept\n"
        os.write(2, line.encode())
    raise SystemExit(FAILED)
