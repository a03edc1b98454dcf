"""Shares of comparable patient pairs that each modality ranks right, and how a fusion model ranks the same pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Entry, Section
from fusionbench.report.findings.select_rows import (
    complete_rows,
    modality_names,
    set_label,
    unimodal_rows,
    without_folds,
)
from fusionbench.report.findings.visible_cases import modalities_of_cases
from fusionbench.report.model import FULL, FoldKey, RowKey
from fusionbench.report.predictions import FoldPredictions, FollowUp, fold_predictions, follow_up_of
from fusionbench.survival.stats import Pairs, concordant_pairs, fold_shares
from fusionbench.survival.stats.concordance import Floats

_TEXT = (
    "{pairs} that have both modalities, by whether {model} on either modality alone ranks "
    "them right ({tied} count one half). Under each fusion model: the share it ranks right of those that both, "
    "exactly one, and neither rank right."
)

ByFold = Mapping[FoldKey, FoldPredictions]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PairShares:
    """Shares of comparable pairs; each field is a mean over folds, then repeats.

    Attributes:
        both, first, second, neither: which of two rows ranks a pair right; they sum to 1.
        right: a third row's share of right pairs among those that both, exactly one and neither of the two rank right.
    """

    both: float
    first: float
    second: float
    neither: float
    right: tuple[tuple[float, float, float], ...] = ()


def pair_sections(analysis: Analysis, dataset: str, fused: Sequence[RowKey]) -> Iterator[Section]:
    """One section a modality set and variant, where one kind of model was run on two of its modalities alone.

    Rows that lack folds are left out: shares are taken over the folds that all rows of a section have.
    """
    left_out = without_folds(analysis, fused)
    notes = (f"left out, for lack of folds: {', '.join(left_out)}",) if left_out else ()
    fused = complete_rows(analysis, fused)
    sets = dict.fromkeys((row[2], row[3]) for row in fused)
    several = len({variant for _, variant in sets}) > 1
    cohort = follow_up_of(analysis.stored, dataset) if sets else None
    parts = _by_row(analysis, cohort) if cohort else {}
    words = analysis.words(dataset)
    for modalities, variant in sets:
        of_set = [row for row in fused if row[2:] == (modalities, variant)]
        model, single = _kind(analysis, of_set[0])
        if len(single) > 1 and cohort is not None:
            title = f"{dataset}: pairs ranked right, {set_label(of_set[0], several=several)}"
            header, lines = _grid(analysis, cohort, parts, of_set, single)
            if lines:
                yield Section(
                    3, title, _TEXT.format(model=model, pairs=words.pairs, tied=words.tied), header, lines, notes
                )


def _by_row(analysis: Analysis, cohort: FollowUp) -> dict[RowKey, dict[FoldKey, FoldPredictions]]:
    """Row to fold to its predictions with all modalities."""
    made: dict[RowKey, dict[FoldKey, FoldPredictions]] = {}
    full = analysis.stored.predictions
    for part in fold_predictions(full[full["pattern"] == FULL], cohort):
        made.setdefault(part.line[0], {})[part.fold] = part
    return made


def _kind(analysis: Analysis, fused: RowKey) -> tuple[str, list[RowKey]]:
    """The model with single-modality rows on the most modalities of a set (of equals the first), and those rows."""
    names = modality_names(fused)
    of: dict[str, list[RowKey]] = {}
    for row in complete_rows(analysis, unimodal_rows(analysis, fused)):
        of.setdefault(row[1], []).append(row)
    model = max(of, key=lambda m: len(of[m]), default="")
    return model, sorted(of.get(model, []), key=lambda row: names.index(modality_names(row)[0]))


def _grid(
    analysis: Analysis,
    cohort: FollowUp,
    parts: Mapping[RowKey, ByFold],
    fused: Sequence[RowKey],
    single: Sequence[RowKey],
) -> tuple[tuple[str, ...], tuple[tuple[Entry, ...], ...]]:
    having = modalities_of_cases(analysis, cohort)
    lines = []
    for one, other in combinations(single, 2):
        keep = _have_both(having, one, other) if having else np.ones(len(cohort.cases), dtype=bool)
        shares = pair_shares(cohort, keep, *(parts.get(row, {}) for row in (one, other, *fused)))
        if shares is not None:
            percentages = [f"{share:.1%}" for share in (shares.both, shares.first, shares.second, shares.neither)]
            right = [" / ".join("-" if math.isnan(share) else f"{share:.0%}" for share in of) for of in shares.right]
            lines.append(tuple(map(Entry, (one[2], other[2], *percentages, *right))))
    header = ("first", "second", "both", "only first", "only second", "neither", *(row[1] for row in fused))
    return header, tuple(lines)


def _have_both(having: Sequence[frozenset[str]], one: RowKey, other: RowKey) -> Bools:
    """(case,) bool, whether the case has a modality of each of the two rows."""
    names = [frozenset(modality_names(row)) for row in (one, other)]
    return np.array([all(has & of for of in names) for has in having], dtype=bool)


def pair_shares(cohort: FollowUp, keep: Bools, one: ByFold, other: ByFold, *thirds: ByFold) -> PairShares | None:
    """Shares over the folds that all have; None where no fold has a comparable pair.

    A fold counts by its own share of pairs, as in a mean c; right pairs among a kind are a ratio of two such means.

    Args:
        keep: (case,) bool, cases of the cohort that are compared.
    """
    rows = (one, other, *thirds)
    shared = sorted(fold for fold in one if all(fold in of for of in rows))
    folds = {fold: _fold(cohort, keep, [of[fold] for of in rows]) for fold in shared}
    known = {fold: of for fold, of in folds.items() if of is not None}
    if not known:
        return None
    # Each fold counts as in a mean c: equal folds within a repeat, equal repeats.
    weights = fold_shares([repeat for repeat, _ in known])
    kinds, right = (np.tensordot(weights, np.stack([of[i] for of in known.values()]), axes=1) for i in (0, 1))
    both, first, second, neither = (float(share) for share in kinds)
    return PairShares(both, first, second, neither, tuple(_right(kinds, of) for of in right))


def _right(kinds: Floats, right: Floats) -> tuple[float, float, float]:
    """(kind,) both, only first, only second, neither -> both, exactly one, neither."""
    all_, hit = ((float(of[0]), float(of[1] + of[2]), float(of[3])) for of in (kinds, right))
    both, one, neither = (h / a if a else float("nan") for h, a in zip(hit, all_, strict=True))
    return both, one, neither


def _fold(cohort: FollowUp, keep: Bools, parts: Sequence[FoldPredictions]) -> tuple[Floats, Floats] | None:
    """((kind,) shares of pairs, (third, kind) of those that a third ranks right) of one fold."""
    cases = np.array([i for i in parts[0].cases if keep[i]], dtype=np.int64)
    rankings = [
        _of_pairs(pairs, [part.scores[i, 0][np.isin(part.cases, cases)] for part in parts])
        for i, pairs in enumerate(cohort.pairs(cases))
        if pairs.any
    ]
    if not rankings:
        return None
    return _mean([kinds for kinds, _ in rankings]), _mean([right for _, right in rankings])


def _mean(arrays: Sequence[Floats]) -> Floats:
    """Over the rankings; of one it has the same bits."""
    return arrays[0] if len(arrays) == 1 else np.asarray(np.mean(arrays, axis=0))


def _of_pairs(pairs: Pairs, scores: Sequence[Floats]) -> tuple[Floats, Floats]:
    """The same of one ranking; `scores`: (case,) of each row."""
    first, second, *thirds = (concordant_pairs(pairs, of) for of in scores)
    # Matrices over (earlier, later) hold 1 = right, 0.5 = tied risk, 0 = wrong on comparable pairs, 0 elsewhere; their
    # elementwise products count pairs that two rows rank right (or wrong) at once.
    wrong = [pairs.matrix - of for of in (first, second)]
    kinds = np.stack([first * second, first * wrong[1], wrong[0] * second, wrong[0] * wrong[1]])
    n = pairs.matrix.sum()
    right = [[(kind * third).sum() / n for kind in kinds] for third in thirds]
    return kinds.sum(axis=(1, 2)) / n, np.array(right).reshape(len(thirds), 4)
