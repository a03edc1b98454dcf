"""From upstream files to the tidy image files that a cohort is read from."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fusionbench import DataError
from fusionbench_tcga.convert.builders import hif_table, roi_arrays, xception_arrays
from fusionbench_tcga.files import Reader, content_sum, read_npz
from fusionbench_tcga.images import DERIVED, Derived, cohort_of

_ARRAYS: Mapping[str, Callable[[Mapping[str, bytes]], dict[str, Any]]] = {
    "xception": xception_arrays,
    "roi": roi_arrays,
}


def convert_images(image: str, raw_dir: Path, out_dir: Path) -> Path:
    """Write the tidy file of an image set, unless one with the right content is there.

    Returns:
        its path.

    Raises:
        DataError: an upstream file is missing or damaged, or the result is not what it must be.
    """
    derived = DERIVED[image]
    target = out_dir / derived.path
    if _is_done(derived, target):
        return target
    reader = Reader(raw_dir, f"tcga-{cohort_of(image)}[image={image}]")
    files = {path.rsplit("/", 1)[1]: reader.file(path) for path in derived.sources}
    if image in _ARRAYS:
        arrays = _ARRAYS[image](files)
        content, seen = _npz(arrays), content_sum(arrays)
    else:
        text = hif_table(files)
        content, seen = gzip.compress(text, mtime=0), hashlib.sha256(text).hexdigest()
    if seen != derived.content_sha256:
        raise DataError(
            f"{target}: conversion gave content {seen} in place of {derived.content_sha256}; "
            "report it with the versions of numpy, pandas and scipy"
        )
    _write(target, content)
    return target


def _is_done(derived: Derived, target: Path) -> bool:
    if not target.is_file():
        return False
    try:
        if target.suffix == ".npz":
            return content_sum(read_npz(target.read_bytes(), target, "")) == derived.content_sha256
        return hashlib.sha256(gzip.decompress(target.read_bytes())).hexdigest() == derived.content_sha256
    except (DataError, OSError, EOFError):  # damaged: written anew
        return False


def _npz(arrays: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _write(target: Path, content: bytes) -> None:
    """Under a temporary name, then renamed: a file is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
