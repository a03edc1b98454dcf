"""Which of several members was best on the validation cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fusionbench import CaseSet, DataError, FitContext, Member, MemberFit, PluginError
from fusionbench_controls.class_members import filled, labels
from fusionbench_controls.features import Floats, Ints
from fusionbench_controls.members import label, picked, rows_with

Judged = Callable[[Member, MemberFit, CaseSet], tuple[list[int], Floats]]
"""Rows of the validation cases on which a member is judged, and its risks there."""


@dataclass(frozen=True)
class Ranking:
    """Members by their validation score.

    Attributes:
        criterion: `loss`, lower = better, or `c_index` or `auroc`, higher = better.
        score: (member,) NaN where it is undefined.
        order: (member,) places of the members, the best first; of equals the first declared.
    """

    criterion: Literal["loss", "c_index", "auroc"]
    score: Floats
    order: Ints


def ranked(fits: Mapping[Member, MemberFit], val: CaseSet, who: str) -> Ranking:
    """By validation loss where that is one scale, otherwise by c-index for all (PROTOCOLS, missing modalities).

    It is one scale where every member has a loss (controls have none) and all were validated on the same cases: the
    mean loss of other patients, more of whom died, is no worse a model. The loss is what early stopping saw, without
    class weights: the negative log-likelihood, or the negative log partial likelihood under the Cox loss.

    Raises:
        DataError: see `ranked_by_c_index`.
    """
    losses = np.array([fit.validation_loss for fit in fits.values()], dtype=np.float64)
    validated = {frozenset(fit.validation.ids) for fit in fits.values()}
    if np.isfinite(losses).all() and len(validated) == 1:
        return Ranking("loss", losses, np.argsort(losses, kind="stable"))
    return ranked_by_c_index(fits, val, everybody, who)


def ranked_by_c_index(fits: Mapping[Member, MemberFit], val: CaseSet, judged: Judged, who: str) -> Ranking:
    """By Harrell's c of a member's risks on the validation cases that `judged` gives.

    Raises:
        DataError: no member's c is defined, so that none is best.
    """
    scores = np.array([_c_index(val, *judged(member, fit, val)) for member, fit in fits.items()])
    if np.isnan(scores).all():
        raise DataError(
            f"{who}: no two validation cases can be compared, so that no member is best; "
            f"there are {len(val)} of them: raise protocol.validation"
        )
    return Ranking("c_index", scores, np.argsort(-scores, kind="stable"))  # NaN comes last


def ranked_by_log_loss(fits: Mapping[Member, MemberFit], val: CaseSet) -> Ranking:
    """Of classes: by the log loss on all validation cases; one without a member's modality counts with its prior."""
    losses = []
    for member, fit in fits.items():
        rows = rows_with(val, member)
        said = picked(member, fit.validation, [val.ids[row] for row in rows]) if rows else None
        own = filled(fit.prior, val, rows, said).probability[np.arange(len(val)), labels(val)]
        losses.append(float(-np.log(np.maximum(own, np.finfo(np.float64).tiny)).mean()))
    return Ranking("loss", np.array(losses), np.argsort(losses, kind="stable"))


def ranked_by_auroc(fits: Mapping[Member, MemberFit], val: CaseSet, who: str) -> Ranking:
    """Of classes: by the AUROC (macro, one class against the others) on the cases that have a member's modality.

    Raises:
        DataError: no member's is defined, so that none is best.
    """
    from fusionbench.tasks.ranking import class_pairs, mean_concordance

    scores = np.full(len(fits), np.nan)
    for place, (member, fit) in enumerate(fits.items()):
        rows = rows_with(val, member)
        if rows:
            said = picked(member, fit.validation, [val.ids[row] for row in rows])
            scores[place] = mean_concordance(class_pairs(labels(val)[rows], len(said.classes)), said.scores)
    if np.isnan(scores).all():
        raise DataError(
            f"{who}: no member has validation cases of every class, so that no member is best; "
            f"there are {len(val)} of them: raise protocol.validation"
        )
    return Ranking("auroc", scores, np.argsort(-scores, kind="stable"))  # NaN comes last


def everybody(member: Member, fit: MemberFit, val: CaseSet) -> tuple[list[int], Floats]:
    """All validation cases; one without the member's modality has the member's prior."""
    rows, risk = own_cases(member, fit, val)
    everyone = np.full(len(val), fit.prior.risk[0])
    everyone[rows] = risk
    return list(range(len(val))), everyone


def own_cases(member: Member, fit: MemberFit, val: CaseSet) -> tuple[list[int], Floats]:
    """The validation cases that show the member's modality."""
    rows = rows_with(val, member)
    ids = val.ids
    return rows, picked(member, fit.validation, [ids[row] for row in rows]).risk


def log_ranking(ctx: FitContext, fits: Mapping[Member, MemberFit], ranking: Ranking) -> None:
    """Each member's score where it is defined, and its rank (1 = best)."""
    rank = np.empty(len(fits), dtype=np.int64)
    rank[ranking.order] = np.arange(1, len(fits) + 1)
    for member, score, place in zip(fits, ranking.score, rank, strict=True):
        defined = {f"validation_{ranking.criterion}/{label(member)}": float(score)} if np.isfinite(score) else {}
        ctx.log(0, {f"rank/{label(member)}": float(place), **defined})


def _c_index(val: CaseSet, rows: list[int], risk: Floats) -> float:
    """Harrell's c, ties one half; NaN where no two cases can be compared."""
    from sksurv.exceptions import NoComparablePairException
    from sksurv.metrics import concordance_index_censored

    if val.targets is None:
        raise PluginError("a choice between members needs targets of the validation cases")
    time, event = val.targets.time[rows], val.targets.event[rows].astype(bool)
    if len(rows) < 2 or not event.any():
        return float("nan")
    try:
        return float(concordance_index_censored(event, time, risk)[0])
    except NoComparablePairException:
        return float("nan")
