"""Files that are there whole or not at all, and the one line that a full disk comes to."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusionbench import FusionBenchError

PART = ".part"
"""Behind the name of a file that is being written."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFull(FusionBenchError):
    """No room for a file; what is written stays, nothing stands half-written under a final name."""


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """
    Raises:
        DiskFull: what is done inside found no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"{path}: the disk is full; free some space and run the same command again") from error
        raise


def part_of(path: Path) -> Path:
    """What a file is called until it is whole."""
    return path.with_name(path.name + PART)


def write_whole(path: Path, content: bytes) -> None:
    """A small file, in place of the one that is there.

    Raises:
        DiskFull: there is no room; the old file stays.
    """
    part = part_of(path)
    with room_for(path):
        try:
            part.write_bytes(content)
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
