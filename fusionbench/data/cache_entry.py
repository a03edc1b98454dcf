"""One file of the feature cache: a header that says what it was made of, then arrays as they lie in memory."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import mmap

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

SUFFIX = ".bag"
MAGIC = b"fusionbench bag 1\n"
ALIGN = 64
"""Bytes between the starts of arrays; the data begin at such a place, too."""
RACY_NS = 20_000_000
"""A file changed so shortly before it is read may change again and keep its time: the clocks of files are coarse."""


@dataclass(frozen=True)
class Source:
    """The state of the file that an entry was made of; another one makes the entry stale.

    Attributes:
        size: bytes. mtime_ns, ctime_ns: of its content, and of anything about it; a copy that keeps the one has another
            of the other.
    """

    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: Path) -> Source:
        """Raises: OSError."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def settled(self, now: int) -> bool:
        """Whether a later change would show."""
        return max(self.mtime_ns, self.ctime_ns) < now - RACY_NS


@dataclass(frozen=True)
class Entry:
    """
    Attributes:
        path: of the source.
        arrays: by name.
        parts: what to write, in order; empty in an entry that was read.
    """

    path: str
    source: Source
    arrays: Arrays
    parts: tuple[bytes | memoryview, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the entry."""
        return sum(len(part) for part in self.parts)


def encode(path: Path, source: Source, arrays: Arrays) -> Entry:
    """The bytes of an entry, each array as narrow as it can be without any value changing as float32."""
    stored = {name: np.ascontiguousarray(narrow(array)) for name, array in arrays.items()}
    about: list[dict[str, Any]] = []
    parts: list[bytes | memoryview] = []
    total = 0
    place = 0
    for name, array in stored.items():
        about.append({"name": name, "dtype": array.dtype.str, "shape": list(array.shape), "start": place})
        filling = -array.nbytes % ALIGN
        flat = array.reshape(-1).view(np.uint8)
        total += _sum(flat)
        parts += [flat.data, bytes(filling)]
        place += array.nbytes + filling
    header = json.dumps(
        {
            "path": str(path.absolute()),
            "source": asdict(source),
            "arrays": about,
            "bytes": place,
            "sum": total % 2**64,
        }
    ).encode("ascii")
    start = MAGIC + zlib.crc32(header).to_bytes(4, "little") + len(header).to_bytes(4, "little") + header
    return Entry(str(path), source, stored, (start + bytes(-len(start) % ALIGN), *parts))


def decode(mapped: mmap.mmap, *, verify: bool) -> Entry | None:
    """The entry, with arrays that lie in `mapped`; None where it is damaged.

    Args:
        verify: compare the sum of the data, too; otherwise only the header and the length.
    """
    whole = np.frombuffer(mapped, np.uint8)
    fixed = len(MAGIC) + 8
    if whole[: len(MAGIC)].tobytes() != MAGIC or len(whole) < fixed:
        return None
    crc, length = (int.from_bytes(whole[fixed - n : fixed - n + 4].tobytes(), "little") for n in (8, 4))
    header = whole[fixed : fixed + length].tobytes()
    if len(header) != length or zlib.crc32(header) != crc:
        return None
    about = json.loads(header)
    data = whole[fixed + length + (-(fixed + length) % ALIGN) :]
    if len(data) != about["bytes"] or (verify and _sum(data) != about["sum"]):
        return None
    arrays = {one["name"]: _array(data, one) for one in about["arrays"]}
    return Entry(about["path"], Source(**about["source"]), arrays)


def _array(data: NDArray[np.uint8], about: Mapping[str, Any]) -> NDArray[Any]:
    dtype, start = np.dtype(about["dtype"]), int(about["start"])
    size = dtype.itemsize * math.prod(about["shape"])
    array: NDArray[Any] = data[start : start + size].view(dtype).reshape(about["shape"])
    return array


def narrow(array: NDArray[Any]) -> NDArray[Any]:
    """The same numbers as float32 has them, in the narrowest of float16, the array's own type and float32."""
    if array.dtype == np.float16 or (array.dtype.kind in "iub" and array.dtype.itemsize == 1):
        return array
    with np.errstate(over="ignore"):
        single = array.astype(np.float32, copy=False)
        half = single.astype(np.float16)
    same = np.array_equal(half.astype(np.float32).view(np.uint32), single.view(np.uint32))
    return half if same else single


def _sum(data: NDArray[np.uint8]) -> int:
    """Of the 64-bit words, modulo 2**64: quick, and one changed word always shows."""
    whole = len(data) // 8 * 8
    words, rest = data[:whole].view(np.uint64), data[whole:]
    return (int(np.add.reduce(words, dtype=np.uint64)) + int.from_bytes(rest.tobytes(), "little")) % 2**64
