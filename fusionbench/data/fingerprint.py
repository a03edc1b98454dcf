"""What a cohort is, as a hash: the same on every machine, in every folder, and for every spelling of a path.

Numbers are rounded before they are hashed, since processors differ in the last bits of what they compute. A rounded
number changes where the exact one lies at an edge between two rounded ones, so the edges lie where no written number
is: at an irrational fraction of a step. Numbers of up to `DIGITS` + 4 digits never lie there; of all others, one in a
million changes with a relative error of 1e-14.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusionbench.core.endpoints import SurvivalTarget

if TYPE_CHECKING:
    from fusionbench.core.interfaces import Dataset
    from fusionbench.core.types import Case, DatasetInfo

DIGITS = 8
"""Significant digits of a number that was read from a file."""
TIME_DIGITS = 4
"""Significant digits of a case's follow-up. Times of files are in their checksums, too; those of generated cohorts are
computed, and with four digits one of a cohort of 600 changes in 10 million pairs of processors."""

_CHUNK = 1 << 18  # numbers rounded at once

_EDGE = (5**0.5 - 1) / 2
"""Where the edge between two rounded numbers lies, as a fraction of a step."""


def rounded(values: ArrayLike, digits: int = DIGITS) -> NDArray[np.int64]:
    """Numbers as (..., 2) integers, `digits` significant digits and their power of ten; equal for nearly equal numbers.

    NaN is one number, whatever its bits; so are 0 and -0.
    """
    exact = np.asarray(values, dtype=np.float64)
    size = np.abs(exact)
    usual = np.isfinite(exact) & (size > 0)
    power = np.floor(np.log10(size, where=usual, out=np.zeros_like(size)))
    half = np.floor(-power / 2)  # two factors, since 10 to the power of 324 is infinite
    steps = np.where(usual, size, 0) * 10.0**half * 10.0 ** (-power - half) * 10.0 ** (digits - 1)
    whole = np.floor(steps + 1 - _EDGE).astype(np.int64)
    carried = whole >= 10**digits  # 9.999... became 10
    whole, power = np.where(carried, whole // 10, whole), power + carried
    whole = np.where(exact < 0, -whole, whole)
    special = np.select([np.isnan(exact), np.isinf(exact)], [1, np.where(exact < 0, -2, 2)], 0)
    return np.stack([whole, np.where(usual, power.astype(np.int64), special + 1000)], axis=-1)


def digest(*parts: Any) -> str:
    """Hexadecimal sha256 of JSON values and arrays; numbers of an array are rounded."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            found.update(f"{part.shape}\n".encode())
            values = part.reshape(-1)
            for start in range(0, values.size, _CHUNK):  # rounding takes several times the memory of its numbers
                found.update(rounded(values[start : start + _CHUNK]).astype("<i8").tobytes())
        else:
            found.update(json.dumps(part, sort_keys=True).encode() + b"\n")
    return found.hexdigest()


def cohort_fingerprint(dataset: Dataset, info: DatasetInfo, cases: Sequence[Case]) -> str:
    """sha256 of what a cohort is: its identity and version, its files by their checksums, and its cases in any order.

    Of a path in a checksum's name only the file's name counts. A modality with a checksum of its own is left out, as is
    its file.
    """
    return digest(*_facts(dataset, info, cases))


def _facts(dataset: Dataset, info: DatasetInfo, cases: Sequence[Case]) -> Iterator[Any]:
    apart = {name: use.checksum for name, use in info.modalities.items() if use.checksum}
    kept = {name: sha256 for name, sha256 in info.checksums.items() if sha256 not in apart.values()}
    files = sorted((name.replace("\\", "/").rpartition("/")[2], sha256) for name, sha256 in kept.items())
    yield [str(dataset.identity), dataset.version, files]
    in_order = sorted(cases, key=lambda case: case.id)
    months = [case.target.time if isinstance(case.target, SurvivalTarget) else np.nan for case in in_order]
    for case, time in zip(in_order, rounded(months, TIME_DIGITS).tolist(), strict=True):
        yield [case.id, case.group, _outcome(case, time), sorted(set(case.refs) - set(apart))]


def _outcome(case: Case, time: float) -> Any:
    """A case's follow-up with its rounded time, its class, or None."""
    if isinstance(case.target, SurvivalTarget):
        return [time, bool(case.target.event)]
    return None if case.target is None else case.target.label
