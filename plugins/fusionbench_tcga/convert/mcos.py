"""Reads the variables of a MATLAB `table` object saved in a MAT-file of version 5.

scipy leaves such objects unread: the contents stand in the file's "subsystem" stream, a second MAT stream inside an
array of bytes. There a `FileWrapper__` object holds, as the elements of one cell array, first a block of bytes that
describes the objects (names, then which name has which element for its value) and behind it the values themselves.

Source for the elements: "MAT-File Format", MathWorks, Level 5. The subsystem is undocumented; its layout was read off
the file, and what is read is checked (widths, row counts and, by the caller, a checksum).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from scipy.io import loadmat

from fusionbench import DataError

_MATRIX = 14
_CELL, _CHAR, _OPAQUE = 1, 4, 17
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
_NUMERIC_CLASSES = range(6, 16)
_STREAM_HEADER = 8
_CELL_OFFSET = 2  # element 0 describes the objects, element 1 is empty; values follow


def read_table(data: bytes, where: str) -> dict[str, Any]:
    """Variable name to its array, of the one `table` in a MAT-file.

    Args:
        data: the file's bytes.
        where: the file's name for messages.

    Raises:
        DataError: not such a file.
    """
    try:
        stream = load_mat(data)["__function_workspace__"].tobytes()
        properties = _properties(_wrapper_cells(stream))
        names, values = properties["varnames"], properties["data"]
        return dict(zip(names, values, strict=True))
    except (KeyError, ValueError, TypeError, StopIteration, IndexError, struct.error) as error:
        raise DataError(f"{where}: holds no MATLAB table that can be read here ({error!r}); fetch it again") from error


def load_mat(data: bytes) -> dict[str, Any]:
    """The variables of a MAT-file that scipy reads."""
    content: dict[str, Any] = loadmat(BytesIO(data))  # type: ignore[arg-type]
    return content


def _wrapper_cells(stream: bytes) -> list[Any]:
    """The cell array of the FileWrapper__ object: struct -> field MCOS -> opaque object -> cell array."""
    body = stream[_STREAM_HEADER:]
    for _ in range(3):
        body = next(part for kind, part in _elements(body) if kind == _MATRIX)
    found = _matrix(body)
    if not isinstance(found, list):
        raise ValueError("the wrapper holds no cell array")
    return found


def _properties(cells: list[Any]) -> dict[str, Any]:
    """Property name to value of the table object, from the describing bytes.

    These begin with eight words: version, number of names, then the offsets of the segments; the names follow. The
    property segment (offset index 3) holds, after an empty block, a count and triples (name, form, value index).
    """
    about = np.asarray(cells[0], np.uint8).tobytes()
    _, n_names, *offsets = struct.unpack_from("<8I", about)
    names = [name.decode() for name in about[40 : offsets[0]].split(b"\0")[:n_names]]
    start, end = offsets[3], offsets[4]
    words = struct.unpack_from(f"<{(end - start) // 4}I", about, start)
    first = next(i for i, word in enumerate(words) if word)
    triples = zip(*(iter(words[first + 1 : first + 1 + 3 * words[first]]),) * 3, strict=True)
    return {names[name - 1]: cells[_CELL_OFFSET + value] for name, form, value in triples if form == 1}


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each element; small elements keep type and size in one word."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind >> 16:
            kind, size, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
        else:
            start, step = at + 8, 8 + size + (0 if kind == _MATRIX else -size % 8)
        if start + size > len(data):
            raise ValueError(f"truncated at byte {at}")
        yield kind, data[start : start + size]
        at += step


def _matrix(body: bytes) -> Any:
    """An array, a string, or a list for a cell array; None for what is not needed (structs, empty elements)."""
    if not body:
        return None
    parts = list(_elements(body))
    kind = parts[0][1][0]
    shape = struct.unpack(f"<{len(parts[1][1]) // 4}i", parts[1][1])
    if kind == _CELL:
        return [_matrix(part) for _, part in parts[3:]]
    if kind == _CHAR:
        return parts[3][1].decode() if len(parts) > 3 else ""
    if kind in _NUMERIC_CLASSES and len(parts) > 3:
        values = np.frombuffer(parts[3][1], "<" + _NUMBERS[parts[3][0]])
        return values.reshape(shape, order="F")
    return None
