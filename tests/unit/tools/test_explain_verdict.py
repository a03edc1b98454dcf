"""The verdict on attention, on numbers with a known answer."""

from __future__ import annotations

import pytest

from fusionbench.tools.explain.verdict import Evidence, Outcome, verdict

RANDOM = (0.1, 0.3, 0.2)
"""Change of the risk in three random orders."""


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (None, "no attention"),
        (Evidence(0.026, 0.056, 9.0, RANDOM), "initialisation"),
        (Evidence(0.056, 0.056, 9.0, RANDOM), "initialisation"),
        (Evidence(0.0, 0.0, 0.0, (0.0,)), "initialisation"),
        (Evidence(0.4, 0.056, 0.31, RANDOM), "supported"),
        (Evidence(0.4, 0.056, 0.3, RANDOM), "no effect on the risk"),
        (Evidence(0.4, 0.056, 0.25, RANDOM), "no effect on the risk"),
        (Evidence(0.4, 0.056, 0.0, (0.0, 0.0)), "no effect on the risk"),
    ],
)
def test_outcomes(evidence: Evidence | None, outcome: str) -> None:
    assert verdict("bag", evidence).outcome is Outcome(outcome)


def test_each_sentence_names_the_modality_and_the_numbers_it_rests_on() -> None:
    assert verdict("bag", None).text == "bag: no attention to interpret; read the contributions."
    assert verdict("bag", Evidence(0.026, 0.056, 9.0, RANDOM)).text == (
        "bag: do not interpret the attention: training moved the attention by 0.026, and two random starts differ by "
        "0.056."
    )
    assert verdict("bag", Evidence(0.4, 0.056, 0.25, RANDOM)).text == (
        "bag: do not read the attention as importance: training moved the attention by 0.400 (two random starts differ "
        "by 0.056), but without the most attended items the risk changes by 0.25 on average, without random items by "
        "0.2. Read the contributions."
    )
    assert verdict("bag", Evidence(0.4, 0.056, 0.9, RANDOM)).text == (
        "bag: the attention shows items that the risk depends on: training moved the attention by 0.400 (two random "
        "starts differ by 0.056); without the most attended items the risk changes by 0.9 on average, without random "
        "items by 0.2."
    )
