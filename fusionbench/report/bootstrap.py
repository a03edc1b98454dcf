"""Bootstrap draws of Harrell's c or the AUROC: the same patient weights for every row and pattern."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fusionbench.core.errors import UndefinedMetric
from fusionbench.core.seeds import derive
from fusionbench.report.model import FoldKey
from fusionbench.report.predictions import FoldPredictions, FollowUp, RowPattern
from fusionbench.survival.stats import (
    Pairs,
    ScoredFold,
    fold_shares,
    pair_weight,
    resample,
    twice_concordant,
    weighted_c,
)
from fusionbench.survival.stats.concordance import Floats, Ints

_CHUNK = 4_000_000  # numbers of concordance matrices held at once: 32 MB


@dataclass(frozen=True)
class BootstrapDraws:
    """Harrell's c, or the AUROC, of every row and pattern, as predicted and in each bootstrap draw.

    Attributes:
        values: (row, pattern) to fold to c; folds without a comparable pair are absent.
        draws: (row, pattern) to (draw,) mean over folds, then repeats; empty where `reason` says why.
        redrawn: draws thrown away for want of a comparable pair.
    """

    values: Mapping[RowPattern, Mapping[FoldKey, float]]
    draws: Mapping[RowPattern, Floats]
    redrawn: int = 0
    reason: str = ""


def bootstrap(parts: Sequence[FoldPredictions], cohort: FollowUp, *, seed: int, draws: int) -> BootstrapDraws:
    """Harrell's c or the AUROC of every row and pattern of one block, with patients resampled within test folds.

    Where there are too few outcomes, or too few draws keep a comparable pair in every fold, `draws` is empty and
    `reason` says so.
    """
    groups = _groups(parts, cohort)
    if not groups:
        reason = "no test fold has a comparable pair" if parts else "no predictions are stored"
        return BootstrapDraws({}, {}, 0, reason)
    patients, strata = _strata(groups, cohort)
    positions = [np.searchsorted(patients, cohort.patient[group.cases]) for group in groups]
    folds = [ScoredFold(of, pairs) for of, group in zip(positions, groups, strict=True) for pairs in group.pairs]
    # The first weighting counts every patient once: it gives the values, the others the draws.
    weights, redrawn, reason = np.ones((1, len(patients))), 0, cohort.too_few
    if not reason:
        try:
            sample = resample(strata, folds, seed=derive(seed, "bootstrap", cohort.identity), draws=draws)
            weights, redrawn = np.concatenate([weights, sample.weights]), sample.redrawn
        except UndefinedMetric as undefined:
            reason = str(undefined)
    values, means = _means(groups, [weights[:, of] for of in positions])
    return BootstrapDraws(values, {} if reason else {line: mean[1:] for line, mean in means.items()}, redrawn, reason)


@dataclass(frozen=True)
class _Group:
    """Predictions of one fold that are scored on the same cases, and so on the same pairs: those of each ranking."""

    fold: FoldKey
    cases: Ints
    pairs: list[Pairs]
    members: list[FoldPredictions]


def _groups(parts: Sequence[FoldPredictions], cohort: FollowUp) -> list[_Group]:
    """The parts of each fold and set of cases; those without a comparable pair are left out."""
    # Rows see different cases where one lacks a modality; equal bytes of the sorted positions mean equal cases.
    together: dict[tuple[FoldKey, bytes], list[FoldPredictions]] = defaultdict(list)
    for part in sorted(parts, key=lambda p: p.fold):
        together[part.fold, part.cases.tobytes()].append(part)
    groups = []
    for (fold, _), members in together.items():
        cases = members[0].cases
        pairs = cohort.pairs(cases)
        if all(of.any for of in pairs):
            groups.append(_Group(fold, cases, pairs, members))
    return groups


def _strata(groups: Sequence[_Group], cohort: FollowUp) -> tuple[Ints, Ints]:
    """(patient,) the tested patients, ascending, and the number of the first fold in which each is tested.

    With several repeats a patient is tested in several folds but drawn in one stratum only, so that all repeats of
    a draw hold the same patients.
    """
    numbers = {fold: i for i, fold in enumerate(dict.fromkeys(group.fold for group in groups))}
    first = np.full(len(cohort.cases), len(numbers), dtype=np.int64)
    for group in groups:
        of = cohort.patient[group.cases]
        first[of] = np.minimum(first[of], numbers[group.fold])
    patients = np.flatnonzero(first < len(numbers)).astype(np.int64)
    return patients, first[patients]


def _means(
    groups: Sequence[_Group], weights: Sequence[Floats]
) -> tuple[dict[RowPattern, dict[FoldKey, float]], dict[RowPattern, Floats]]:
    """Fold to c under the first weighting, and (draw,) mean over folds and repeats, by row and pattern."""
    folds: dict[RowPattern, list[FoldKey]] = defaultdict(list)
    for group in groups:
        for part in group.members:
            folds[part.line].append(group.fold)
    shares = {line: dict(zip(of, fold_shares([r for r, _ in of]), strict=True)) for line, of in folds.items()}
    values: dict[RowPattern, dict[FoldKey, float]] = defaultdict(dict)
    means: dict[RowPattern, Floats] = {}
    for group, weight in zip(groups, weights, strict=True):
        for line, c in _weighted(group, weight):
            values[line][group.fold] = float(c[0])
            means[line] = means.get(line, 0.0) + shares[line][group.fold] * c
    return dict(values), means


def _weighted(group: _Group, weights: Floats) -> Iterator[tuple[RowPattern, Floats]]:
    """(draw,) c of every row and pattern of a group; of several rankings the mean.

    c is linear in the concordance matrix, so the mean over masks of a pattern is the c of their mean matrix.
    """
    # Matrices are multiplied in chunks that bound the memory, whatever the number of rows.
    step = max(1, _CHUNK // max(pairs.matrix.size for pairs in group.pairs))
    totals = [pair_weight(pairs, weights) for pairs in group.pairs]
    for start in range(0, len(group.members), step):
        members = group.members[start : start + step]
        of_rankings = [
            weighted_c(pairs, np.stack([_mean_concordance(pairs, part.scores[i]) for part in members]), weights, total)
            for i, (pairs, total) in enumerate(zip(group.pairs, totals, strict=True))
        ]
        yield from zip((part.line for part in members), _mean(of_rankings).T, strict=True)


def _mean(of_rankings: Sequence[Floats]) -> Floats:
    """Their mean; of one ranking it has the same bits."""
    return of_rankings[0] if len(of_rankings) == 1 else np.asarray(np.mean(of_rankings, axis=0))


def _mean_concordance(pairs: Pairs, risk: Floats) -> Floats:
    twice = np.zeros(pairs.matrix.shape, dtype=np.int32)
    for of_mask in risk:
        twice += twice_concordant(pairs, of_mask)
    return np.asarray(twice * (0.5 * pairs.matrix) / len(risk), dtype=np.float64)
