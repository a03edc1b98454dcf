"""Whether the attention on one modality of a case may be interpreted, in one sentence, from numbers alone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fusionbench.tools.explain.score import RISK, ExplainedScore


class Outcome(StrEnum):
    """What a verdict on attention says."""

    NO_ATTENTION = "no attention"
    INITIAL = "initialisation"
    NO_EFFECT = "no effect on the risk"
    NO_EFFECT_ON_ODDS = "no effect on the log odds"
    SUPPORTED = "supported"


@dataclass(frozen=True)
class Evidence:
    """What is known of the attention on one modality.

    Attributes:
        moved: total variation between the attention after and before training, mean over layers: 0 to 1.
        between_seeds: the same between untrained networks with different seeds.
        attended: absolute change of the score without the items with the most attention, mean over the numbers of
            removed items.
        random: (draw,) the same for items in random order.
    """

    moved: float
    between_seeds: float
    attended: float
    random: tuple[float, ...]


@dataclass(frozen=True)
class Verdict:
    """Whether attention may be interpreted, and why."""

    outcome: Outcome
    text: str


def verdict(modality: str, evidence: Evidence | None, score: ExplainedScore = RISK) -> Verdict:
    """The verdict on the attention on a modality.

    Attention is worth interpreting if training moved it further than random starts differ, and if the score changes
    more without the items with the most attention than without items in any of the random orders.

    Args:
        evidence: None where the model has no attention on the modality.
        score: what is explained.
    """
    change, depend = ("change", "depend") if score.label else ("changes", "depends")
    if evidence is None:
        return Verdict(Outcome.NO_ATTENTION, f"{modality}: no attention to interpret; read the contributions.")
    moved, between = f"{evidence.moved:.3f}", f"{evidence.between_seeds:.3f}"
    if evidence.moved <= evidence.between_seeds:
        why = f"training moved the attention by {moved}, and two random starts differ by {between}"
        return Verdict(Outcome.INITIAL, f"{modality}: do not interpret the attention: {why}.")
    trained = f"training moved the attention by {moved} (two random starts differ by {between})"
    changes = (
        f"without the most attended items the {score.name} {change} by {evidence.attended:.3g} on average, without "
        f"random items by {sum(evidence.random) / len(evidence.random):.3g}"
    )
    if evidence.attended > max(evidence.random):
        text = f"{modality}: the attention shows items that the {score.name} {depend} on: {trained}; {changes}."
        return Verdict(Outcome.SUPPORTED, text)
    text = f"{modality}: do not read the attention as importance: {trained}, but {changes}. Read the contributions."
    return Verdict(Outcome.NO_EFFECT_ON_ODDS if score.label else Outcome.NO_EFFECT, text)
