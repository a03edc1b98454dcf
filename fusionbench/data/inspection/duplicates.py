"""Cases that look like one patient under two groups: equal or nearly equal rows and bags, and ids with one prefix."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fusionbench.core.types import Case

    Floats = NDArray[np.float64]

NEAR = 0.02
"""Root mean squared difference, in standard deviations of the columns, below which two rows are nearly equal."""
RANKS = 2
"""Root mean squared difference, in ranks, below which two rows of a small cohort are nearly equal."""
PROJECTED = 12
"""Random directions in which neighbours are looked for: near rows are near in each of them."""
MAX_COLUMNS = 500
"""Columns that are compared: so many tell any two patients apart."""
MIN_BITS = 15.0
"""Bits that two equal rows must share beyond those that find a pair among all pairs: columns are not independent."""
MAX_COPIES = 4
"""Twins of a row above which it was filled with the same values for several patients, unless many rows are such."""
MIN_COPIES, BY_CHANCE = 3, 10.0
"""Pairs of cases with equal outcomes and covariates from which on they are told: at least so many, and so many times
as many as chance gives."""
MIN_SHARED = 0.1
"""Share of the cases that lie with another case under one prefix from which on the prefix looks like the patient."""


def twins(table: Floats, groups: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of rows of different groups that are equal but for noise, and too particular to be so by chance.

    Args:
        table: (case, column), NaN = no value. groups: of each case.
    """
    from scipy.spatial import cKDTree

    n = len(table)
    rng = np.random.default_rng(0)
    if table.shape[1] > MAX_COLUMNS:
        table = table[:, np.sort(rng.choice(table.shape[1], MAX_COLUMNS, replace=False))]
    scaled = _scaled(table)
    varied = scaled.any(axis=0)
    # Two rows at the end of all columns, such as bags of empty tiles, are neighbours by rank, but not in deviations.
    scaled, raw = scaled[:, varied], _in_deviations(table[:, varied])
    if n < 2 or not scaled.shape[1]:
        return []
    # A projection of unit length keeps the root mean squared difference, on average.
    directions = rng.normal(size=(scaled.shape[1], PROJECTED)) / math.sqrt(scaled.shape[1])
    tree = cKDTree(scaled @ directions)
    needed = math.log2(n * (n - 1) / 2) + MIN_BITS
    pairs: set[tuple[int, int]] = set()
    # Noise moves a value by a rank or two, which is more than `NEAR` where there are few cases.
    for near in {NEAR, max(NEAR, RANKS * math.sqrt(12) / n)}:
        rarity = _bits(scaled, near)
        pairs |= {
            (int(i), int(j))
            for i, j in tree.query_pairs(near * math.sqrt(PROJECTED) * 2, output_type="ndarray")
            if groups[i] != groups[j]
            and _distance(scaled[i], scaled[j]) < near
            and _distance(raw[i], raw[j]) < near
            and min(rarity[i], rarity[j]) >= needed
        }
    found = sorted(pairs)
    copies = Counter(i for pair in found for i in pair)
    filled = {i for i, k in copies.items() if k > MAX_COPIES}
    return found if len(filled) >= MIN_SHARED * n else [pair for pair in found if not filled & set(pair)]


def _distance(one: Floats, other: Floats) -> float:
    """Root mean squared difference of two rows."""
    return math.sqrt(float(np.mean((one - other) ** 2)))


def _in_deviations(table: Floats) -> Floats:
    """(case, column) values in standard deviations of the columns; 0 for missing cells, which ranks tell apart."""
    known = np.where(np.isnan(table), 0.0, table)
    deviation = known.std(axis=0)
    return np.asarray(known / np.where(deviation > 0, deviation, 1))


def _scaled(table: Floats) -> Floats:
    """(case, column) ranks in [0, 1], in standard deviations; missing cells lie one below all others.

    Ranks: omics reach thousands of standard deviations, and one such cell would hide that the others differ.
    """
    from scipy.stats import rankdata

    known = np.where(np.isnan(table), 0.0, table)
    # Means over the same patches in another order differ by rounding, and are one rank all the same.
    width = np.ptp(known, axis=0)
    rounded = (known / np.where(width > 0, width, 1)).round(9)
    centred = rankdata(np.where(np.isnan(table), -np.inf, rounded), axis=0)
    centred -= centred.mean(axis=0)
    deviation = centred.std(axis=0)
    return np.asarray(centred / np.where(deviation > 0, deviation, 1))


def _bits(scaled: Floats, near: float) -> Floats:
    """(case,) how particular a row is: minus log2 of the share of cases near each value, but for the commonest values.

    A row of commonest values (no mutation at all) is shared by many patients.
    """
    ordered = np.sort(scaled, axis=0)
    bits = np.zeros(len(scaled))
    for column, values in zip(scaled.T, ordered.T, strict=True):
        low = np.searchsorted(values, column - near, side="left")
        count = np.searchsorted(values, column + near, side="right") - low
        bits += np.where((count == count.max()) & (count > len(column) / 3), 0.0, np.log2(len(column) / count))
    return bits


def copied(outcomes: Sequence[Hashable], covariates: Sequence[Hashable], groups: Sequence[str]) -> list[list[int]]:
    """Sets of cases with equal outcomes and equal covariates under several groups, where chance does not explain them.

    Few covariates, such as age and sex, are shared by many patients, and times in whole months by some. Both at once
    are rare, unless the cases are slides of one patient: pairs that agree in both are counted against those that two
    independent coincidences would give.

    Args:
        outcomes: time and event of each case. covariates: all values of its tables. groups: of each case.
    """
    both = list(zip(outcomes, covariates, strict=True))
    sets: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(both):
        sets[key].append(i)
    found = [of for of in sets.values() if len({groups[i] for i in of}) > 1]
    pairs = sum(math.comb(len(of), 2) for of in found)
    all_pairs = math.comb(len(both), 2)
    expected = _equal_pairs(outcomes) * _equal_pairs(covariates) / max(all_pairs, 1)
    return found if pairs >= max(MIN_COPIES, BY_CHANCE * expected) else []


def _equal_pairs(values: Sequence[Hashable]) -> int:
    return sum(math.comb(n, 2) for n in Counter(values).values())


def bag_summary(values: NDArray[np.floating[Any]]) -> Floats:
    """(2 column,) mean and standard deviation of each column over a bag's instances, in whatever order they stand."""
    flat = values.reshape(len(values), -1)[:, :MAX_COLUMNS].astype(np.float64)
    return np.concatenate([flat.mean(axis=0), flat.std(axis=0)])


def shared_prefixes(cases: Sequence[Case]) -> dict[str, list[str]]:
    """Prefix to the ids of the cases that share it under different groups; empty where that is usual or rare.

    An id is cut at `-`, `_`, `.`, `:` and spaces; the longest prefix that divides the cases into many small sets, some
    of them of several cases, looks like the patient (TCGA-2F-A9KO of TCGA-2F-A9KO-01Z-00-DX1).
    """
    parts = {case.id: re.split(r"[-_.:\s]+", case.id) for case in cases}
    of = {case.id: case.group for case in cases}
    for depth in range(max(map(len, parts.values()), default=0) - 1, 0, -1):
        sets: dict[str, list[str]] = defaultdict(list)
        for id_, words in parts.items():
            if len(words) > depth:
                sets["-".join(words[:depth])].append(id_)
        several = {name: ids for name, ids in sets.items() if len({of[i] for i in ids}) > 1}
        sharing = sum(map(len, several.values()))
        # Sites and projects (TCGA-2F) hold many patients each; a patient has few slides.
        if sharing >= MIN_SHARED * len(parts) and len(sets) > len(parts) / 3:
            return several
    return {}
