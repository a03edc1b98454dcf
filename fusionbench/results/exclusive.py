"""One process at a time does a short piece of work under a results root, such as making a file that all share."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fusionbench.core.errors import ResultsError

SECONDS, _PAUSE = 120.0, 0.05


@contextmanager
def exclusive(path: Path, seconds: float = SECONDS) -> Iterator[None]:
    """Hold the lock file `path` while inside; the system gives the lock back when its process ends, however it ends.

    Where the file system knows no locks, nothing is held: what is done inside must then be harmless when done twice.

    Args:
        seconds: to wait for another process that holds it.

    Raises:
        ResultsError: the file cannot be written, or another process holds it for longer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path} cannot be written: {error.strerror or error}") from error
    end = time.monotonic() + seconds
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise ResultsError(
                        f"{path} is held by another process for more than {seconds:g} s; wait for it or end it"
                    ) from None
                time.sleep(_PAUSE)
            except OSError:  # ENOSYS, ENOLCK, EOPNOTSUPP: some network file systems
                break
        yield
