"""Verdicts on published claims, each computed from stored results by a small function of its kind.

A verdict is "holds", "does not hold" or "undecided" with what leaves it open; a claim whose rows are not there is
"not run", and one that is another suite's is not checked at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fusionbench.report.api import (
    Analysis,
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
    later_rise,
    steadier_agreement,
    steadier_score,
)

Check = Callable[[Claim, Analysis, Mapping[str, Any]], Iterator[CohortVerdict]]

HOLDS, FAILS, OPEN, NOT_RUN = "holds", "does not hold", "undecided", "not run"


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
    wanted = max(len(claim["datasets"].split()), len(parts))
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


Rule = Callable[[Claim, RowMean, Sequence[RowMean]], tuple[str, bool | None]]
"""From a claim, its row and the rows it is compared with to a text and True, False or None (open)."""


def _row_check(rule: Rule) -> Check:
    """The check that asks `rule` of each dataset and variant; open where not all it names were run."""

    def check(claim: Claim, analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[CohortVerdict]:
        rows = row_means(analysis, claim["pattern"])
        for where, row in _subjects(claim, rows):
            beside = [r for r in rows if r.variant == row.variant and r.row[0] == row.row[0]]
            others = {name: _other(name, claim, beside) for name in claim["against"].split()}
            absent = [name for name, of in others.items() if not of]
            if len(absent) < len(others):
                text, holds = rule(claim, row, [r for of in others.values() for r in of])
                yield CohortVerdict(
                    where, text + (f" ({', '.join(absent)} not run)" if absent else ""), None if absent else holds
                )

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


def _above_zero(outcome: RowComparison) -> bool | None:
    """Whether an interval lies above zero, or at or below it; None where it holds zero, or there is none."""
    return True if outcome.low > 0 else False if outcome.high <= 0 else None


def _gain_over_best(claim: Claim, row: RowMean, others: Sequence[RowMean]) -> tuple[str, bool | None]:
    """Relative gain over the best of the others; the best by test c, as it is published."""
    best = max(others, key=lambda r: r.mean)
    outcome = compare_rows(row, best, relative_gain)
    return f"{outcome.text(signed=True, digits=1, unit=' %')} over {best.row[1]} on {best.row[2]}", _above_zero(outcome)


def _nearly_equal(claim: Claim, row: RowMean, others: Sequence[RowMean]) -> tuple[str, bool | None]:
    """The difference to the best of the others lies within the threshold."""
    margin, outcome = float(claim["threshold"]), compare_rows(row, max(others, key=lambda r: r.mean))
    inside = -margin < outcome.low and outcome.high < margin
    outside = outcome.low > margin or outcome.high < -margin
    return f"{outcome.text(signed=True)}, margin {margin:g}", True if inside else False if outside else None


def _lower_spread(claim: Claim, row: RowMean, others: Sequence[RowMean]) -> tuple[str, bool | None]:
    """sd over folds below the mean of the others' sd."""
    theirs = float(np.mean([other.sd for other in others]))
    known = not np.isnan([row.sd, theirs]).any()
    return f"sd {row.sd:.3f}, mean of the others {theirs:.3f}", bool(row.sd < theirs) if known else None


def _better_under_pattern(claim: Claim, row: RowMean, others: Sequence[RowMean]) -> tuple[str, bool | None]:
    """Above the best of the others where modalities are missing at test."""
    outcome = compare_rows(row, max(others, key=lambda r: r.mean))
    return outcome.text(signed=True), _above_zero(outcome)


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
