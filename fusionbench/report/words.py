"""How texts name the score that ranks rows, and what is predicted: one set of words for each kind of endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fusionbench.report.model import AUROC, HARRELL, SHORT_NAMES


@dataclass(frozen=True)
class Words:
    """Words for one score.

    Attributes:
        short: its name in titles and headings of tables.
        axis: its name at an axis.
        score: its name at the beginning of a sentence.
        symbol: what stands for it in formulas and narrow columns.
        pairs: which pairs of patients it counts.
        tied: what equal predictions of a pair are.
        prior: what a case without a visible modality gets.
        truth: what the oracle baseline knows.
    """

    short: str
    axis: str
    score: str
    symbol: str
    pairs: str
    tied: str
    prior: str
    truth: str


WORDS: Mapping[str, Words] = {
    HARRELL: Words(
        short=SHORT_NAMES[HARRELL],
        axis="Harrell's c-index",
        score="Harrell's c",
        symbol="c",
        pairs="Comparable pairs of test patients",
        tied="tied risks",
        prior="training-mean risk",
        truth="true hazards",
    ),
    AUROC: Words(
        short=SHORT_NAMES[AUROC],
        axis="AUROC",
        score="AUROC",
        symbol="AUROC",
        pairs="Pairs of a test patient of a class and one of another",
        tied="equal scores",
        prior="average training prediction",
        truth="true probabilities",
    ),
}
"""Metric that ranks rows to its words."""


def score_names(rankings: Iterable[str]) -> str:
    """Names of scores in a title or note, each once: `c-index`, `AUROC` or `c-index or AUROC`."""
    return " or ".join(dict.fromkeys(WORDS[name].short for name in rankings))
