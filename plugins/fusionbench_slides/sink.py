"""The file below HDF5: it keeps an error of the disk until it is asked, and no two runs write the same one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fusionbench import DataError


class Sink:
    """What h5py takes for a file.

    HDF5 cannot end in order over a disk that is full: it tries again for every object and prints each failure. So a
    failed write is kept, what follows goes nowhere, and `check` raises it.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self._try(lambda: self._write_all(memoryview(data)))
        return len(data)

    def truncate(self, size: int) -> int:
        self._try(lambda: self.file.truncate(size))
        return size

    def _write_all(self, data: memoryview) -> None:
        """An unbuffered file may take less than it is given."""
        while data:
            data = data[self.file.write(data) :]

    def _try(self, act: Callable[[], object]) -> None:
        if self.error is None:
            try:
                act()
            except OSError as error:
                self.error = error

    def check(self) -> None:
        """Raises what a write came to."""
        if self.error is not None:
            raise self.error

    def __getattr__(self, name: str) -> Any:
        """Reading, seeking and the rest are the file's own."""
        return getattr(self.file, name)


@contextmanager
def sink(path: Path) -> Iterator[Sink]:
    """The file at `path`, emptied.

    Raises:
        DataError: another run has it.
    """
    with path.open("ab", buffering=0) as lock:
        _lock(lock, path)
        with path.open("w+b", buffering=0) as file:
            yield Sink(file)


def _lock(file: IO[bytes], path: Path) -> None:
    if sys.platform == "win32":
        return  # it does not let two processes write a file, either
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DataError(f"{path}: another run is writing it; wait for that one, or pass another --out") from error
