"""What each file of a TCGA cohort must be, where it comes from, and reading it with its checksum compared."""

from __future__ import annotations

import gzip
import hashlib
import io
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from fusionbench import DataError, Source
from fusionbench.data.published_files import read_published, read_sources

_OWN = "a file of the same format; its checksum is recorded, not verified"
_NO_LICENCE = "no licence file (default copyright): research use, do not redistribute"
_TERMS = {
    "mahmoodlab/PORPOISE": "GPLv3 with 'available for non-commercial academic purposes' (README); TCGA data, cite TCGA",
    "jahanshah/cdrvis": f"{_NO_LICENCE}; Supplementary Table 1 of Liu et al. 2018, Cell (TCGA-CDR)",
    "Path-AI/hif2gene": "CC BY-NC-SA 4.0 by its LICENSE.md (its README says CC BY-SA 4.0)",
    "hwanglab/tcga_tmb_prediction": _NO_LICENCE,
    "chengjun583/KIRP-topological-features": _NO_LICENCE,
    "mahmoodlab/SurvPath": "GPLv3 with 'available for non-commercial academic purposes' (README; no licence file)",
    "Innse/DisPro": "Apache-2.0 by its README; no licence file",
    "konst-int-i/healnet": "Apache-2.0; names and checksums of the GDC's files",
}
_FREE = {"konst-int-i/healnet"}
"""Repositories whose licence asks for no agreement."""


@cache
def _published() -> Mapping[str, Source]:
    terms = {repository: f"{repository}: {text}" for repository, text in _TERMS.items()}
    return read_sources("fusionbench_tcga", terms, _FREE)


def is_published(path: str) -> bool:
    """Whether a checksum of this file is known, so that it can be downloaded and verified."""
    return path in _published()


def source(path: str) -> Source:
    """The published file of this path under the data home, or one that the user brings: no address, no checksum."""
    return _published().get(path, Source(path, "", "", _OWN))


class Reader:
    """Reads files of one cohort under the data home, verifies each and keeps the checksums.

    Attributes:
        dataset: the cohort with its options, for the command in messages.
        checksums: path under the data home (or the user's own path) to sha256 of what was read.
    """

    def __init__(self, home: Path, dataset: str) -> None:
        self.home, self.dataset = home, dataset
        self.checksums: dict[str, str] = {}

    def file(self, path: str) -> bytes:
        """A file's content.

        Raises:
            DataError: missing, truncated or altered; names file, sums and remedy.
        """
        data, self.checksums[path] = read_published(self.home, source(path), self.dataset)
        return data

    def table(self, path: str, content_sha256: str) -> bytes:
        """Text of a gzip'd table that `convert` wrote; the sum is that of the text, which compression leaves alone."""
        data = self._read(path)
        try:
            text = gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise DataError(f"{self.home / path} is damaged ({error}); {self.fetch}") from error
        self._compare(path, hashlib.sha256(text).hexdigest(), content_sha256)
        return text

    def arrays(self, path: str, content_sha256: str) -> dict[str, Any]:
        """Arrays of an .npz that `convert` wrote; the sum is that of their content."""
        arrays = read_npz(self._read(path), self.home / path, self.fetch)
        self._compare(path, content_sum(arrays), content_sha256)
        return arrays

    @property
    def fetch(self) -> str:
        return f"run: fusionbench data fetch {shlex.quote(self.dataset)}"

    def _read(self, path: str) -> bytes:
        try:
            return (self.home / path).read_bytes()
        except FileNotFoundError as error:
            raise DataError(f"{self.home / path} is missing; {self.fetch}") from error

    def _compare(self, path: str, seen: str, expected: str) -> None:
        if expected and seen != expected:
            raise DataError(f"{self.home / path} is damaged: expected sha256 {expected}, found {seen}; {self.fetch}")
        self.checksums[path] = seen


def read_npz(data: bytes, where: Path, remedy: str) -> dict[str, Any]:
    """All arrays of an .npz; pickled objects are refused.

    Raises:
        DataError: not an .npz, truncated, or with pickled objects.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds for a damaged archive
        raise DataError(f"{where} is no readable .npz ({type(error).__name__}: {error}); {remedy}") from error


def content_sum(arrays: Mapping[str, Any]) -> str:
    """sha256 over name, type, shape and bytes of each array in the order of names; independent of compression."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}\x1f{array.dtype.str}\x1f{array.shape}\x1f".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
