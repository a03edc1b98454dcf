"""Reads a data frame from R's serialisation format (`saveRDS`): numbers and strings, nothing that is code.

Source: R Internals, section 1.8 "Serialization Formats" (binary XDR, versions 2 and 3).
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from fusionbench import DataError

# Type codes of R Internals, those that a data frame of numbers, strings and factors needs.
_SYMBOL, _PAIRS, _CHARS = 1, 2, 9
_LOGICAL, _INTEGER, _REAL, _STRINGS, _LIST = 10, 13, 14, 16, 19
_POINTER, _ALTREP, _NIL, _GLOBAL, _REFERENCE = 22, 238, 254, 253, 255
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400
_NA_INTEGER = -(2**31)


def read_data_frame(data: bytes, where: str) -> dict[str, Any]:
    """Column name to a float64 array (numbers, factors as codes, NA as NaN) or a list of strings (NA as None).

    Args:
        data: the file's bytes, gzip'd or not.
        where: the file's name for messages.

    Raises:
        DataError: not this format, or no data frame.
    """
    try:
        reader = _Reader(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
        columns, attributes = reader.top()
    except (struct.error, gzip.BadGzipFile, EOFError, IndexError, ValueError) as error:
        raise DataError(f"{where}: not an R data file that can be read here ({error}); fetch it again") from error
    names = attributes.get("names")
    if not isinstance(columns, list) or not isinstance(names, list) or len(names) != len(columns):
        raise DataError(f"{where}: holds no data frame with named columns; fetch it again")
    return dict(zip(names, columns, strict=True))


class _Reader:
    """Walks the byte stream; every item is a flag word, its value and perhaps its attributes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.references: list[Any] = []

    def top(self) -> tuple[Any, Mapping[str, Any]]:
        if self.data[:2] != b"X\n":
            raise ValueError("does not begin as binary XDR")
        self.at = 2
        version = self.word()
        self.at += 8  # the versions of R that wrote it and that can read it
        if version == 3:
            self.take(self.word())  # the native encoding
        elif version != 2:
            raise ValueError(f"serialisation version {version}")
        return self.item()

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > len(self.data):
            raise ValueError("truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def word(self) -> int:
        return int(struct.unpack(">i", self.take(4))[0])

    def item(self) -> tuple[Any, Mapping[str, Any]]:
        """(value, attributes) of the next item."""
        flags = self.word()
        kind = flags & 0xFF
        if kind in (_NIL, _GLOBAL):
            return None, {}
        if kind == _REFERENCE:
            return self.references[((flags >> 8) or self.word()) - 1], {}
        if kind == _SYMBOL:
            self.references.append(self.item()[0])
            return self.references[-1], {}
        if kind == _PAIRS:
            return self.pairs(flags), {}
        if kind == _POINTER:
            self.pointer(flags)
            return None, {}
        value = self.compact() if kind == _ALTREP else self.vector(kind)
        attributes = self.item()[0] if flags & _HAS_ATTRIBUTES and kind != _CHARS else {}
        return value, attributes or {}

    def vector(self, kind: int) -> Any:
        count = self.word()
        if kind == _CHARS:
            return None if count == -1 else self.take(count).decode()
        if kind == _REAL:
            return np.frombuffer(self.take(8 * count), ">f8").astype(np.float64)
        if kind in (_INTEGER, _LOGICAL):
            whole = np.frombuffer(self.take(4 * count), ">i4")
            return np.where(whole == _NA_INTEGER, np.nan, whole.astype(np.float64))
        if kind in (_STRINGS, _LIST):
            return [self.item()[0] for _ in range(count)]
        raise ValueError(f"item of type {kind}")

    def pairs(self, flags: int) -> dict[str, Any]:
        """A pair list, R's form of attributes: a head, and a tail that is again a pair list or nil."""
        found: dict[str, Any] = {}
        while flags & 0xFF == _PAIRS:
            if flags & _HAS_ATTRIBUTES:
                self.item()
            tag = self.item()[0] if flags & _HAS_TAG else f"[{len(found)}]"
            found[tag] = self.item()[0]
            flags = self.word()
        return found

    def pointer(self, flags: int) -> None:
        """An external pointer (data.table leaves one): remembered as a reference target, its parts unused."""
        self.references.append(None)
        self.item()
        self.item()
        if flags & _HAS_ATTRIBUTES:
            self.item()

    def compact(self) -> Any:
        """A compact sequence: (count, first, step) in place of the numbers."""
        info, state = self.item()[0], self.item()[0]
        self.item()
        name = next(iter(info.values()))
        if name not in ("compact_intseq", "compact_realseq"):
            raise ValueError(f"compact form {name}")
        count, first, step = state
        return first + step * np.arange(int(count))
