"""Arrays of feature files, kept as they are worked with: checked once, uncompressed, and mapped into memory.

Cells and processes share what the system keeps of the entries in memory. An entry holds exactly the numbers that
reading its source gives as float32: as float16 where every value is one (encoders often compute in half precision), in
the source's own type where that is narrower, else as float32. So results are the same bits with the cache and without.

The folder is `bag-cache` below the data home, or FUSIONBENCH_BAG_CACHE; `off` there turns the cache off.
FUSIONBENCH_BAG_CACHE_GB bounds it.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import DataError
from fusionbench.data.cache_entry import SUFFIX, Entry, Source, decode, encode
from fusionbench.data.downloads import data_home

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

FOLDER = "bag-cache"
ENVIRONMENT, LIMIT = "FUSIONBENCH_BAG_CACHE", "FUSIONBENCH_BAG_CACHE_GB"
OFF = "off"
_ELSEWHERE = f"{ENVIRONMENT} names another folder, or is {OFF!r}"
LIMIT_GB = 32.0
SPARE = 2 << 30
"""Bytes of the disk that are left free."""
KEPT_DAYS = 14.0
"""Entries unused for so long make room for others. Younger ones stay: what is read in turn, epoch after epoch, would
otherwise throw out just what comes next."""


def cached(path: Path, kind: str, read: Callable[[], Arrays]) -> Arrays:
    """What `read` gives for a feature file, from the cache where it is there, and kept for the next time.

    Args:
        kind: of reader; another one may make other arrays of the same file.
        read: gives arrays by name; what it raises goes on, and nothing is kept.

    Returns:
        arrays of the same numbers, perhaps of a narrower type; they may be written to, which changes nothing else.
    """
    mine = here()
    return read() if mine is None else mine.arrays(path, kind, read)


def here() -> FeatureCache | None:
    """The cache of this process as the environment has it; None = turned off.

    Raises:
        DataError: its bound is no number.
    """
    chosen = os.environ.get(ENVIRONMENT, "")
    if chosen.lower() == OFF:
        return None
    return _cache(chosen or str(data_home() / FOLDER), limit())


def limit() -> int:
    """Bytes that the cache may take.

    Raises:
        DataError: FUSIONBENCH_BAG_CACHE_GB is no positive number.
    """
    text = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(text) if text else LIMIT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < float("inf"):
        raise DataError(f"{LIMIT} is {text!r}; give gigabytes, such as 50, or set {ENVIRONMENT}={OFF}")
    return int(gigabytes * 1e9)


@cache
def _cache(folder: str, most: int) -> FeatureCache:
    """One a process, so that an entry is verified once and a trouble is told once."""
    return FeatureCache(Path(folder).expanduser(), most)


class FeatureCache:
    """The entries of one folder."""

    def __init__(self, folder: Path, most: int) -> None:
        self.folder, self.most = folder, most
        self._known: dict[str, Source] = {}  # by the entry's name: verified by this process
        self._used: int | None = None  # bytes, once something is to be written
        self._stopped = False

    def entries(self) -> list[Path]:
        """The files of the cache."""
        return sorted(self.folder.glob(f"*{SUFFIX}"))

    def unfinished(self) -> list[Path]:
        """What processes are writing, or were when they were ended."""
        return sorted(self.folder.glob(f".*{SUFFIX}-*"))

    def arrays(self, path: Path, kind: str, read: Callable[[], Arrays]) -> Arrays:
        """See `cached`."""
        place = self.folder / _name(path, kind)
        try:
            source = Source.of(path)
        except OSError:  # the reader says it better
            return read()
        found = self._read(place, source)
        if found is not None:
            return found
        began = time.time_ns()
        arrays = read()
        numbers = all(array.dtype.kind in "fiub" for array in arrays.values())
        if numbers and not self._stopped and source.settled(began) and _same(path, source):
            self._write(place, encode(path, source, arrays))
        return arrays

    def _read(self, place: Path, source: Source) -> Arrays | None:
        """None where there is no entry, or one of another state of the source, or a damaged one."""
        known = self._known.get(place.name) == source
        entry = _mapped(place, verify=not known)
        if entry is None or entry.source != source:
            return None
        if not known:
            self._known[place.name] = source
            with suppress(OSError):  # somebody else's: then its age tells less, which harms nobody
                os.utime(place)  # in use; by this time the oldest are found
        return entry.arrays

    def _write(self, place: Path, content: Entry) -> None:
        temporary = place.with_name(f".{place.name}-{os.getpid()}-{time.monotonic_ns()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (full := self._full(content.size)) is not None:
                self._stop(full)
                return
            with temporary.open("wb") as file:
                for part in content.parts:
                    file.write(part)
            temporary.replace(place)
        except OSError as error:
            with suppress(OSError):  # it was never there, or nothing can be removed either
                temporary.unlink()
            self._stop(f"cannot be written ({error.strerror or error}): {_ELSEWHERE}")
            return
        self._known.pop(place.name, None)
        self._used = (self._used or 0) + content.size

    def _full(self, size: int) -> str | None:
        """Why an entry of so many bytes has no room; None = it has."""
        if self._used is None:
            self._used = sum(_size(path) for path in self.entries())
        if self._used + size > self.most:
            self._used = self._drop_old()
        if self._used + size > self.most:
            return f"is full ({self.most / 1e9:g} GB): raise {LIMIT}, or run: fusionbench data cache --clear"
        if shutil.disk_usage(self.folder).free - size < SPARE:
            return f"has less than {SPARE / 1e9:.0f} GB of disk left: {_ELSEWHERE}"
        return None

    def _drop_old(self) -> int:
        """Remove what nothing has used for long; bytes of the others, counted anew: other processes write, too."""
        oldest = time.time() - KEPT_DAYS * 86400
        for path in (*self.entries(), *self.unfinished()):
            if _time(path) < oldest:
                path.unlink(missing_ok=True)
        return sum(_size(path) for path in self.entries())

    def _stop(self, why: str) -> None:
        """Told once a process; everything goes on, only slower."""
        self._stopped = True
        text = "note: the cache of feature files %s %s. Files that it lacks are read from where they are"
        logging.getLogger("fusionbench").warning(text, self.folder, why)

    def stale(self) -> list[Path]:
        """Entries whose source has changed or is gone, and damaged ones."""
        return [place for place in self.entries() if not _current(place)]

    def remove(self, places: Iterable[Path]) -> tuple[int, int]:
        """Remove entries; (files, bytes) that are gone. What a process has mapped stays with it.

        Raises:
            DataError: one cannot be removed.
        """
        files = size = 0
        try:
            for place in places:
                size += _size(place)
                place.unlink(missing_ok=True)
                files += 1
        except OSError as error:
            raise DataError(f"{self.folder}: an entry cannot be removed ({error.strerror or error})") from error
        self._used, self._stopped = None, False
        return files, size


def _current(place: Path) -> bool:
    entry = _mapped(place, verify=False)
    return entry is not None and _same(Path(entry.path), entry.source)


def _mapped(place: Path, *, verify: bool) -> Entry | None:
    """None where there is no entry, or a damaged one."""
    try:
        with place.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except (OSError, ValueError):  # absent, unreadable, or empty
        return None
    return decode(mapped, verify=verify)


def _same(path: Path, source: Source) -> bool:
    try:
        return Source.of(path) == source
    except OSError:  # it has gone meanwhile
        return False


def _name(path: Path, kind: str) -> str:
    return hashlib.sha256(f"{kind}\0{path.absolute()}".encode("utf-8", "surrogateescape")).hexdigest()[:40] + SUFFIX


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # another process has just removed it
        return 0


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # the same
        return time.time()
