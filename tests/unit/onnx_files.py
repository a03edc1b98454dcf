"""A small ONNX file, written field by field: what a package that writes them would bring along is not needed."""

from __future__ import annotations

from pathlib import Path

VARINT, LENGTH = 0, 2
FLOAT = 1


def write_mean_model(path: Path, *, batch: int | None = None, side: int | None = None) -> Path:
    """(tile, 3, row, column) to (tile, 3), the mean of each channel; None = any number of tiles, or of pixels.

    Source: onnx.proto, opset 13: ReduceMean over axes 2 and 3.
    """
    axes = _text(1, "axes") + b"".join(_number(8, axis) for axis in (2, 3)) + _number(20, 7)
    keep = _text(1, "keepdims") + _number(3, 0) + _number(20, 2)
    node = _text(1, "x") + _text(2, "y") + _text(4, "ReduceMean") + _part(5, axes) + _part(5, keep)
    inputs, outputs = _value("x", (batch, 3, side, side)), _value("y", (batch, 3))
    graph = _part(1, node) + _text(2, "mean") + _part(11, inputs) + _part(12, outputs)
    path.write_bytes(_number(1, 8) + _part(7, graph) + _part(8, _text(1, "") + _number(2, 13)))
    return path


def _value(name: str, shape: tuple[int | None, ...]) -> bytes:
    sides = (_text(2, f"{name}{i}") if n is None else _number(1, n) for i, n in enumerate(shape))
    tensor = _number(1, FLOAT) + _part(2, b"".join(_part(1, side) for side in sides))
    return _text(1, name) + _part(2, _part(1, tensor))


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3 | VARINT) + _varint(number)


def _part(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | LENGTH) + _varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _part(field, text.encode())
