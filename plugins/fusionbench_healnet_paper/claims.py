"""Verdicts on published claims, each computed from stored results by a small function of its kind.

A verdict is "holds", "does not hold" or "undecided" with what leaves it open; a claim whose rows are not there is
"not run", and one that is another suite's is not checked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionbench.report.api import (
    HARRELL,
    Analysis,
    Estimate,
    RowComparison,
    RowMean,
    compare_rows,
    counterpart,
    matching_rows,
    relative_gain,
    row_means,
)
from fusionbench_healnet_paper.counts import agreeing
from fusionbench_healnet_paper.missing_claims import learns, no_worse_alone
from fusionbench_healnet_paper.training_claims import (
    Claim,
    CohortVerdict,
    lacking_folds,
    later_rise,
    steadier_agreement,
    steadier_score,
)

Check = Callable[[Claim, Analysis, Mapping[str, Any]], Iterator[CohortVerdict]]

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "undecided", "not run"

OF_ALL_DATASETS = ("mean-gain-over-best",)
"""Kinds that have one answer for all datasets together."""


@dataclass(frozen=True)
class Verdict:
    ours: str
    verdict: str


def judge(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Verdict:
    """The verdict on one claim."""
    return _joined(list(CHECKS[claim["kind"]](claim, analysis, lock)), claim)


def is_checked(claim: Claim, lock: Mapping[str, Any]) -> bool:
    """Whether this suite is to answer a claim, and something here can."""
    return bool(claim["kind"]) and lock["suite"]["name"] in claim["checked_by"].split()


def _joined(parts: Sequence[CohortVerdict], claim: Claim) -> Verdict:
    """Of all cohorts that the claim names, or of `least` of them."""
    if not parts:
        return Verdict("-", NOT_RUN)
    ours = "; ".join(f"{part.where} {part.text}" for part in parts)
    wanted = max(1 if claim["kind"] in OF_ALL_DATASETS else len(claim["datasets"].split()), len(parts))
    least = _least(claim, wanted)
    yes, no = sum(p.holds is True for p in parts), sum(p.holds is False for p in parts)
    if yes >= least:
        return Verdict(ours, HOLDS)
    if wanted - no < least:
        return Verdict(ours, FAILS)
    left = [f"{', '.join(p.where for p in parts if p.holds is None)} open"] if no + yes < len(parts) else []
    left += [f"{wanted - len(parts)} not run"] if len(parts) < wanted else []
    return Verdict(ours, OPEN if wanted == 1 else f"{OPEN}: {'; '.join(left)}")


def _least(claim: Claim, wanted: int) -> int:
    counted = claim["kind"] in ("lower-spread", "better-under-pattern") and claim["threshold"]
    return int(float(claim["threshold"])) if counted else wanted


Rule = Callable[[Claim, Analysis, RowMean, Sequence[RowMean]], tuple[str, bool | None]]
"""From a claim, its row and the rows it is compared with to a text and True, False or None (open)."""


def _row_check(rule: Rule) -> Check:
    """The check that asks `rule` of each dataset and variant; open where not all it names were run on all folds."""

    def check(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
        rows = row_means(analysis, claim["pattern"])
        for where, row in _subjects(claim, rows):
            beside = [r for r in rows if r.variant == row.variant and r.row[0] == row.row[0]]
            others = {name: _other(name, claim, beside) for name in claim["against"].split()}
            absent = [name for name, of in others.items() if not of]
            if len(absent) < len(others):
                compared = [r for of in others.values() for r in of]
                text, holds = rule(claim, analysis, row, compared)
                open_ = [*lacking_folds((row, *compared)), *([f"{', '.join(absent)} not run"] if absent else [])]
                yield CohortVerdict(where, text + (f" ({'; '.join(open_)})" if open_ else ""), None if open_ else holds)

    return check


def _subjects(claim: Claim, rows: Sequence[RowMean]) -> Iterator[tuple[str, RowMean]]:
    """(dataset, the claim's row); a suite with several variants has several rows."""
    for dataset in claim["datasets"].split():
        mine = matching_rows(rows, dataset, claim["model"], claim["modalities"])
        for row in mine:
            yield dataset if len({r.variant for r in mine}) < 2 else f"{dataset} ({row.variant})", row


def _other(name: str, claim: Claim, rows: Sequence[RowMean]) -> list[RowMean]:
    """Rows of `model` or `model@modalities`; the claim's own modalities where none are written."""
    model, _, sets = name.partition("@")
    return matching_rows(rows, rows[0].dataset, model, sets or claim["modalities"])


def _best(rows: Iterable[RowMean]) -> RowMean:
    """The row of the highest mean, among those that lack no folds where there is one."""
    return max(rows, key=lambda row: (row.complete, row.mean))


def _above(outcome: RowComparison, least: float = 0.0) -> bool | None:
    """Whether an interval lies above `least`, or at or below it; None where it holds `least`, or there is none."""
    return True if outcome.low > least else False if outcome.high <= least else None


def least_amount(published: str) -> float:
    """The smallest number that is written as `published` when it is rounded: 6.5 for `7`; 0 where no amount is claimed.

    Papers round their amounts, and a gain of 6.5 % is one of "7 %".
    """
    decimals = len(published.partition(".")[2])
    return float(published) - 0.5 * 10.0**-decimals if published else 0.0


def _claimed(claim: Claim) -> str:
    return f", claimed {claim['threshold']} %" if claim["threshold"] else ""


def _gain_over_best(
    claim: Claim, analysis: Analysis, row: RowMean, others: Sequence[RowMean]
) -> tuple[str, bool | None]:
    """Relative gain over the best of the others, the best by test c, as it is published; against the claimed amount."""
    best = _best(others)
    outcome = compare_rows(row, best, relative_gain)
    gain = outcome.text(signed=True, digits=1, unit=" %")
    return f"{gain} over {best.row[1]} on {best.row[2]}{_claimed(claim)}", _above(
        outcome, least_amount(claim["threshold"])
    )


def _mean_gain_over_best(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """The mean over datasets of the relative gain over the best of the others; open where a row or fold is absent."""
    rows = row_means(analysis, claim["pattern"])
    names = claim["datasets"].split()
    variants = dict.fromkeys(row.variant for _, row in _subjects(claim, rows))
    for variant in variants:
        of = [row for row in rows if row.variant == variant]
        found = {name: _with_best(claim, name, of) for name in names}
        pairs = [pair for pair in found.values() if not isinstance(pair, str)]
        absent = [pair for pair in found.values() if isinstance(pair, str)]
        known = f"{len(pairs)} of {len(names)}" if absent else f"{len(pairs)}"
        absent += [f"{short} on {pair.row.dataset}" for pair in pairs for short in pair.lacking]
        if pairs:
            gain = _mean_gain(pairs)
            where = f"mean of {known} cohorts" + (f" ({variant})" if len(variants) > 1 else "")
            text = gain.text(signed=True, digits=1, unit=" %") + _claimed(claim)
            text += f" ({'; '.join(absent)})" if absent else ""
            yield CohortVerdict(where, text, None if absent else _above(gain, least_amount(claim["threshold"])))


@dataclass(frozen=True)
class _WithBest:
    """A row and the best of those it is held against, with those of all of them that lack folds, in words."""

    row: RowMean
    best: RowMean
    lacking: tuple[str, ...]


def _with_best(claim: Claim, dataset: str, rows: Sequence[RowMean]) -> _WithBest | str:
    """The claim's row on a dataset and the best of those it is held against, or what keeps them from a mean."""
    mine = matching_rows(rows, dataset, claim["model"], claim["modalities"])
    if len(mine) != 1:
        return f"{dataset} has {len(mine)} rows" if mine else f"{dataset} not run"
    beside = [row for row in rows if row.row[0] == mine[0].row[0]]
    others = {name: _other(name, claim, beside) for name in claim["against"].split()}
    absent = [name for name, of in others.items() if not of]
    if absent:
        return f"{', '.join(absent)} on {dataset} not run"
    compared = [row for of in others.values() for row in of]
    return _WithBest(mine[0], _best(compared), tuple(lacking_folds((mine[0], *compared))))


def _mean_gain(pairs: Sequence[_WithBest]) -> RowComparison:
    """Mean relative gain; draws of a dataset's rows are paired, those of two datasets independent."""
    value = float(np.mean([compare_rows(pair.row, pair.best, relative_gain).value for pair in pairs]))
    draws = [
        relative_gain(pair.row.draws, pair.best.draws)
        for pair in pairs
        if not pair.lacking and pair.row.draws is not None and pair.best.draws is not None
    ]
    gain = Estimate.of(value, np.mean(draws, axis=0) if len(draws) == len(pairs) else None)
    return RowComparison(gain.value, gain.low, gain.high, paired=True)


def _nearly_equal(claim: Claim, analysis: Analysis, row: RowMean, others: Sequence[RowMean]) -> tuple[str, bool | None]:
    """The difference to the best of the others lies within the threshold."""
    margin, outcome = float(claim["threshold"]), compare_rows(row, _best(others))
    inside = -margin < outcome.low and outcome.high < margin
    outside = outcome.low > margin or outcome.high < -margin
    return f"{outcome.text(signed=True)}, margin {margin:g}", True if inside else False if outside else None


def _lower_spread(claim: Claim, analysis: Analysis, row: RowMean, others: Sequence[RowMean]) -> tuple[str, bool | None]:
    """The sd over folds lies below the mean of the others' sd."""
    theirs = float(np.mean([other.sd for other in others]))
    said = _spread_of(claim, analysis, row)
    known = not np.isnan([row.sd, theirs]).any()
    return f"sd {row.sd:.3f}, mean of the others {theirs:.3f} ({said})", bool(row.sd < theirs) if known else None


def _spread_of(claim: Claim, analysis: Analysis, row: RowMean) -> str:
    """What a row's sd is taken over: its folds, those of all repeats, or folds averaged over repeats; and its ddof."""
    plan = analysis.stored.plans[row.row[0], row.row[3]]
    places = analysis.values[row.row, claim["pattern"], HARRELL]
    repeats, folds = (len(set(numbers)) for numbers in zip(*places, strict=True))
    over = f"{folds} folds"
    if repeats > 1:
        over += f", each the mean of {repeats} repeats" if plan.published else f" of each of {repeats} repeats"
    return f"over {over}; ddof {plan.sd_ddof}"


def _better_under_pattern(
    claim: Claim, analysis: Analysis, row: RowMean, others: Sequence[RowMean]
) -> tuple[str, bool | None]:
    """Above the best of the others where modalities are missing at test."""
    outcome = compare_rows(row, _best(others))
    return outcome.text(signed=True), _above(outcome)


def _apart(outcome: RowComparison) -> bool:
    return outcome.low > 0 or outcome.high < 0


def _sensitive(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """Some variant's c differs from the one it is held against."""
    rows = row_means(analysis)
    for dataset in dict.fromkeys(row.row[0] for row in rows):
        of = [r for r in rows if r.row[0] == dataset]
        pairs = [(r, b) for r in of if r.variant != claim["against"] and (b := counterpart(r, of, claim["against"]))]
        outcomes = [(r.variant, compare_rows(r, b)) for r, b in pairs]
        if outcomes:
            variant, largest = max(outcomes, key=lambda o: (_apart(o[1]), abs(o[1].value)))
            yield CohortVerdict(dataset, f"{variant} {largest.text(signed=True)}", _apart(largest) or None)


def _counts(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
    """Every published count is the same here."""
    same, known, published = agreeing(lock)
    if known:
        holds = True if same == published else False if same < known else None
        yield CohortVerdict(
            "of the published counts", f"{same} of {known} are the same, {published - known} not read", holds
        )


CHECKS: Mapping[str, Check] = {
    "gain-over-best": _row_check(_gain_over_best),
    "mean-gain-over-best": _mean_gain_over_best,
    "nearly-equal": _row_check(_nearly_equal),
    "lower-spread": _row_check(_lower_spread),
    "better-under-pattern": _row_check(_better_under_pattern),
    "steadier-agreement": steadier_agreement,
    "steadier-score": steadier_score,
    "later-rise": later_rise,
    "sensitive": _sensitive,
    "no-worse-alone": no_worse_alone,
    "learns": learns,
    "counts": _counts,
}
