"""The verdict on a cohort: whether models on several modalities beat the best model on one, in a sentence or two.

`findings.evidence` collects the numbers of a suite's results; `verdict` turns them into words and reads nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fusionbench.report.ranking import ALPHA

SHOWN_ROWS = 3
"""Rows that a sentence names; it counts the others."""


class Outcome(StrEnum):
    """What a verdict says."""

    BETTER = "better"
    TIED = "tied"
    WORSE = "worse"
    UNTESTED = "untested"
    NO_UNIMODAL = "no uni-modal row"
    NO_FUSION = "no fusion row"
    NO_SCORE = "no score"


@dataclass(frozen=True)
class Candidate:
    """A row that a verdict names, with its mean and its 95 % interval (NaN where there is none)."""

    name: str
    mean: float
    low: float = math.nan
    high: float = math.nan

    def __str__(self) -> str:
        interval = "" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.name} {self.mean:.3f}{interval}"


@dataclass(frozen=True)
class Fall:
    """What the best fusion row loses under a missing-modality pattern.

    Attributes:
        fused: the row's mean under the pattern.
        best: the best row under the pattern.
    """

    pattern: str
    fused: Candidate
    best: Candidate


@dataclass(frozen=True)
class Evidence:
    """The numbers that a verdict on one cohort and variant rests on; only rows with all planned folds count.

    Attributes:
        metric: by which rows are ranked.
        higher_is_better: of the metric.
        fused: the best row on several modalities.
        unimodal: the best row on one modality; picked on the test folds, which makes it hard to beat.
        difference: mean of `fused` minus mean of `unimodal`, on common folds.
        p: of the corrected resampled t-test of that difference, Holm-adjusted over all fusion rows; NaN where there
            are fewer than two folds.
        p_alone: the same without adjustment.
        detectable: the smallest difference that the folds can detect (2.8 corrected standard errors); NaN as p.
        n_better: fusion rows that are significantly better than `unimodal`.
        n_fused: fusion rows.
        n_folds: folds of every mean.
        lacking: rows that lack folds, by name.
        leaks: warnings about the cohort that are signs of leakage.
        fall: under the missing-modality pattern where `fused` loses most.
        too_few: why nothing is tested, where the cohort has too few outcomes.
    """

    metric: str
    higher_is_better: bool = True
    fused: Candidate | None = None
    unimodal: Candidate | None = None
    difference: float = math.nan
    p: float = math.nan
    p_alone: float = math.nan
    detectable: float = math.nan
    n_better: int = 0
    n_fused: int = 0
    n_folds: int = 0
    lacking: Sequence[str] = ()
    leaks: int = 0
    fall: Fall | None = None
    too_few: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the results say about a cohort.

    Attributes:
        answer: whether fusion helps, in one sentence; before it a caution where the cohort's inputs are in doubt.
        limits: what the answer does not cover, in up to three sentences.
    """

    outcome: Outcome
    answer: str
    limits: str = ""

    @property
    def text(self) -> str:
        """Answer and limits."""
        return f"{self.answer} {self.limits}".strip()


def verdict(evidence: Evidence) -> Verdict:
    """The verdict that the numbers allow, and no more."""
    outcome = _outcome(evidence)
    answer = " ".join([*_caution(evidence), _answer(outcome, evidence)])
    return Verdict(outcome, answer, " ".join(_limits(outcome, evidence)))


def _outcome(evidence: Evidence) -> Outcome:
    if evidence.fused is None or evidence.unimodal is None:
        if evidence.unimodal is not None:
            return Outcome.NO_FUSION
        return Outcome.NO_SCORE if evidence.fused is None else Outcome.NO_UNIMODAL
    if math.isnan(evidence.p):
        return Outcome.UNTESTED
    if evidence.p > ALPHA:
        return Outcome.TIED
    return Outcome.BETTER if (evidence.difference > 0) == evidence.higher_is_better else Outcome.WORSE


def _caution(evidence: Evidence) -> Iterator[str]:
    if evidence.leaks:
        signs = "a sign" if evidence.leaks == 1 else f"{evidence.leaks} signs"
        yield f"Do not rely on these numbers: this cohort shows {signs} of leakage (fusionbench data check lists them)."


def _answer(outcome: Outcome, evidence: Evidence) -> str:
    fused, unimodal = evidence.fused, evidence.unimodal
    if unimodal is None:
        if fused is None:
            return f"No row has {evidence.metric} on every planned fold."
        return f"No model on a single modality was run, so whether fusion helps is open. Best fused: {fused}."
    reference = f"the best single modality, {unimodal.name} ({unimodal.mean:.3f})"
    if fused is None:
        return f"No model on several modalities was run. Best on one modality: {unimodal}."
    if outcome is Outcome.BETTER:
        return f"Fusion helps: {fused} is better than {reference}: {_test(evidence)}."
    if outcome is Outcome.WORSE:
        return f"Fusion hurts: even the best fused, {fused}, is worse than {reference}: {_test(evidence)}."
    if outcome is Outcome.TIED:
        return f"No fusion row beats {reference}. Best fused: {fused}, tied: {_test(evidence)}."
    gap = _signed(evidence.difference)
    shown = f"{_design(evidence)} cannot show whether fusion beats {reference}."
    return f"{shown} Best fused: {fused}, {gap}, not tested."


def _design(evidence: Evidence) -> str:
    """What is too small for a test."""
    if evidence.too_few:
        return f"Too few outcomes ({evidence.too_few})"
    return "One fold" if evidence.n_folds == 1 else "These folds"


def _test(evidence: Evidence) -> str:
    """Difference and p; where only the adjustment for many rows takes a small p away, both values of p."""
    text = f"{_signed(evidence.difference)}, {_p(evidence.p)}"
    if evidence.p_alone <= ALPHA < evidence.p:
        text += f" adjusted for {evidence.n_fused} fusion rows, {_p(evidence.p_alone)} for this row alone"
    return text


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _signed(difference: float) -> str:
    """With its sign; a difference that rounds to zero has none."""
    text = f"{difference:+.3f}"
    return text if float(text) else "0.000"


def _limits(outcome: Outcome, evidence: Evidence) -> Iterator[str]:
    if evidence.n_better > 1:
        yield f"{evidence.n_better} of {evidence.n_fused} fusion rows are better than the best single modality."
    if outcome is Outcome.TIED and abs(evidence.difference) < evidence.detectable:
        yield f"Differences below {evidence.detectable:.3f} cannot be detected with these folds."
    if evidence.fall is not None:
        yield _of_fall(evidence.fall)
    if evidence.lacking:
        names, n = evidence.lacking[:SHOWN_ROWS], len(evidence.lacking)
        more = f" and {n - len(names)} more" if n > len(names) else ""
        yield f"Not ranked for want of folds: {', '.join(names)}{more}."


def _of_fall(fall: Fall) -> str:
    best = "still the best row" if fall.best.name == fall.fused.name else f"best there: {fall.best}"
    return f"With modalities missing (pattern {fall.pattern}), the best fused falls to {fall.fused.mean:.3f}; {best}."
