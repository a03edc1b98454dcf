"""Cache of the arrays of feature files: checked once, uncompressed, and mapped into memory; and of fold-wise states.

Each entry is a safetensors file. Cells and processes share the pages of it that the system keeps in memory. An entry
holds exactly the numbers that reading its source gives as float32: as float16 where every value is one (encoders often
compute in half precision), in the source's own type where that is narrower, else as float32. So results are the same
bits with the cache and without.

What preparations have made of a fold's training cases (`fusionbench.data.stored_states`) lies beside them.

The folder is `bag-cache` below the data home, or FUSIONBENCH_BAG_CACHE; `off` there turns the cache off.
FUSIONBENCH_BAG_CACHE_GB limits its size.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fusionbench.core.errors import DataError
from fusionbench.data.downloads import data_home

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Stamp = list[int]
"""State of a file: size in bytes and, in nanoseconds, last change of its content and of anything about it. Both times,
since a copy can keep the first one but not the second. An entry made from another state is stale."""

ENVIRONMENT, LIMIT = "FUSIONBENCH_BAG_CACHE", "FUSIONBENCH_BAG_CACHE_GB"
OFF = "off"
FOLDER, SUFFIX = "bag-cache", ".bag"
STATE_SUFFIX = ".prepared"
"""Of what a preparation has made, which has no source file."""
LIMIT_GB = 32.0
SPARE = 2 << 30
"""Bytes of the disk that are left free."""
KEPT_DAYS = 14.0
"""Entries unused for so long are removed where others need their room. Younger ones stay: of a cohort that is read in
turn, epoch after epoch, the oldest entry is the one that is read next."""
RACY_NS = 20_000_000
"""A file changed so shortly before it is read may change again and keep its time: file clocks are coarse."""
_OTHER_FOLDER = f"{ENVIRONMENT} names another folder, or is {OFF!r}"
_UNREADABLE = (OSError, SafetensorError, TypeError, ValueError, KeyError)  # no entry, or none of this version


def cached_arrays(path: Path, kind: str, read: Callable[[], Arrays]) -> Arrays:
    """The arrays of a feature file by name: from the cache, or read and then stored in it.

    Args:
        kind: of reader; another one may make other arrays of the same file.
        read: reads the file; its errors pass through, and nothing is stored then.

    Returns:
        arrays of the same numbers, perhaps of a narrower type; writing to them changes neither cache nor file.
    """
    current = current_cache()
    return read() if current is None else current.arrays(path, kind, read)


def current_cache() -> FeatureCache | None:
    """The cache that the environment variables describe; None = turned off.

    Raises:
        DataError: FUSIONBENCH_BAG_CACHE_GB is no positive number.
    """
    folder = os.environ.get(ENVIRONMENT, "")
    if folder.lower() == OFF:
        return None
    text = os.environ.get(LIMIT, "")
    try:
        gigabytes = float(text) if text else LIMIT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < float("inf"):
        raise DataError(f"{LIMIT} is {text!r}; give gigabytes, such as 50, or set {ENVIRONMENT}={OFF}")
    return _cache(folder or str(data_home() / FOLDER), int(gigabytes * 1e9))


@cache
def _cache(folder: str, limit: int) -> FeatureCache:
    """One object per process, so that an entry is verified once and a problem is logged once."""
    return FeatureCache(Path(folder).expanduser(), limit)


class FeatureCache:
    """The entries of one folder; `limit` in bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._verified: dict[str, Stamp] = {}  # entry's file name -> stamp of its source
        self._used: int | None = None  # bytes; counted before the first write
        self._read_only = False

    def entries(self) -> list[Path]:
        """The files of the cache."""
        return sorted(path for suffix in (SUFFIX, STATE_SUFFIX) for path in self.folder.glob(f"*{suffix}"))

    def unfinished(self) -> list[Path]:
        """Temporary files of processes that are writing, or were killed while they wrote."""
        return sorted(path for suffix in (SUFFIX, STATE_SUFFIX) for path in self.folder.glob(f".*{suffix}-*"))

    def stale(self) -> list[Path]:
        """Entries whose source has changed or is gone, and damaged ones."""
        return [entry for entry in self.entries() if not _is_current(entry)]

    def arrays(self, path: Path, kind: str, read: Callable[[], Arrays]) -> Arrays:
        """See `cached_arrays`."""
        stamp = _stamp(path)
        if stamp is None:  # the reader has the better message
            return read()
        entry = self.folder / _file_name(path, kind)
        stored = self._load(entry, stamp)
        if stored is not None:
            return stored
        began = time.time_ns()
        arrays = read()
        storable = not self._read_only and all(array.dtype.kind in "fiub" for array in arrays.values())
        # The second stamp: the file may have changed while it was read.
        if storable and max(stamp[1:]) < began - RACY_NS and _stamp(path) == stamp:
            self._store(entry, path, stamp, arrays)
        return arrays

    def _load(self, entry: Path, stamp: Stamp) -> Arrays | None:
        """The arrays of an entry, mapped; None where there is no entry, or a stale or damaged one."""
        verified = self._verified.get(entry.name) == stamp
        try:
            # "pt" maps the file copy-on-write; "numpy" would copy every array.
            with safe_open(entry, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
                arrays = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118
        except _UNREADABLE:
            return None
        # safetensors checks the header and the length; the data are compared once per process.
        if about["stamp"] != stamp or not (verified or about["sums"] == _sums(arrays)):
            return None
        if not verified:
            self._verified[entry.name] = stamp
            with suppress(OSError):  # of another user; then its age is less exact
                os.utime(entry)  # time of last use, by which `_evict` chooses
        return arrays

    def _store(self, entry: Path, path: Path, stamp: Stamp, arrays: Arrays) -> None:
        narrowed = {name: np.ascontiguousarray(narrow(array)) for name, array in arrays.items()}
        # JSON, since safetensors takes no file name that is not valid Unicode.
        about = json.dumps({"path": str(path.absolute()), "stamp": stamp, "sums": _sums(narrowed)})
        self.write(entry, narrowed, about)

    def write(self, entry: Path, arrays: Arrays, about: str) -> None:
        """Write an entry whole or not at all; where it cannot be written, that is logged once."""
        if self._read_only:
            return
        size = sum(array.nbytes for array in arrays.values())
        temporary = entry.with_name(f".{entry.name}-{os.getpid()}-{time.monotonic_ns()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (reason := self._no_room(size)) is not None:
                self._stop_writing(reason)
                return
            save_file(dict(arrays), temporary, {"about": about})
            temporary.replace(entry)
        except (OSError, SafetensorError) as error:
            with suppress(OSError):  # it was never written, or nothing can be removed either
                temporary.unlink()
            self._stop_writing(f"cannot be written ({getattr(error, 'strerror', None) or error}): {_OTHER_FOLDER}")
            return
        self._verified.pop(entry.name, None)
        self._used = (self._used or 0) + size

    def _no_room(self, size: int) -> str | None:
        """Why an entry of `size` bytes has no room; None where it has."""
        if self._used is None:
            self._used = sum(map(_size, self.entries()))
        if self._used + size > self.limit:
            self._used = self._evict()
        if self._used + size > self.limit:
            return f"is full ({self.limit / 1e9:g} GB): raise {LIMIT}, or run: fusionbench data cache --clear"
        if shutil.disk_usage(self.folder).free - size < SPARE:
            return f"has less than {SPARE / 1e9:.0f} GB of disk left: {_OTHER_FOLDER}"
        return None

    def _evict(self) -> int:
        """Remove entries that were not used for long; bytes of the others, counted anew: other processes write, too."""
        oldest = time.time() - KEPT_DAYS * 86400
        for path in (*self.entries(), *self.unfinished()):
            with suppress(OSError):  # another process has just removed it
                if path.stat().st_mtime < oldest:
                    path.unlink()
        return sum(map(_size, self.entries()))

    def _stop_writing(self, reason: str) -> None:
        """Write no more entries in this process; logged once."""
        self._read_only = True
        text = "note: the cache of feature files %s %s. Files that it lacks are read from where they are"
        logging.getLogger("fusionbench").warning(text, self.folder, reason)

    def remove(self, paths: Iterable[Path]) -> tuple[int, int]:
        """Remove files of the cache; returns their number and bytes. Arrays that are mapped stay valid.

        Raises:
            DataError: one cannot be removed.
        """
        files = size = 0
        try:
            for path in paths:
                size += _size(path)
                path.unlink(missing_ok=True)
                files += 1
        except OSError as error:
            raise DataError(f"{self.folder}: an entry cannot be removed ({error.strerror or error})") from error
        self._used, self._read_only = None, False
        return files, size


def narrow(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers as float32 has them, in the narrowest of float16, the array's own type and float32."""
    if array.dtype == np.float16 or (array.dtype.kind in "iub" and array.dtype.itemsize == 1):
        return array
    with np.errstate(over="ignore"):  # a number beyond float16 becomes infinite there, which is not the same bits
        single = array.astype(np.float32, copy=False)
        half = single.astype(np.float16)
    # Bits, not values: -0.0 equals 0.0, and NaN equals nothing.
    same = np.array_equal(half.astype(np.float32).view(np.uint32), single.view(np.uint32))
    return half if same else single


def _is_current(entry: Path) -> bool:
    """Whether an entry can be read and its source has not changed since."""
    try:
        with safe_open(entry, framework="numpy") as file:  # torch need not be loaded for the header
            about = json.loads(file.metadata()["about"])
        return entry.suffix == STATE_SUFFIX or bool(about["stamp"] == _stamp(Path(about["path"])))
    except _UNREADABLE:
        return False


def _stamp(path: Path) -> Stamp | None:
    """The state of a file now; None where it cannot be read."""
    with suppress(OSError):
        stat = path.stat()
        return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    return None


def _sums(arrays: Arrays) -> dict[str, int]:
    """Sums of the 64-bit words of each array, modulo 2**64: quicker than a hash, and any one changed word shows."""
    sums = {}
    for name, array in arrays.items():
        data = array.reshape(-1).view(np.uint8)
        whole = data.size // 8 * 8
        sums[name] = (int(data[:whole].view(np.uint64).sum()) + int(data[whole:].sum())) % 2**64
    return sums


def _file_name(path: Path, kind: str) -> str:
    return hashlib.sha256(f"{kind}\0{path.absolute()}".encode("utf-8", "surrogateescape")).hexdigest()[:40] + SUFFIX


def _size(path: Path) -> int:
    stamp = _stamp(path)
    return stamp[0] if stamp else 0  # 0: another process has just removed it
