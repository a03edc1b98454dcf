"""What is published of predictions: small, and the same to every ranking metric."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionbench.results.frames import PLACE
from fusionbench.survival.stats import harrell_c
from fusionbench.tools.publish import compact


def predictions(risks: list[float], pattern: str, repeat: int = 0) -> pd.DataFrame:
    place = dict(zip(PLACE, ("toy", "x", "a+b", "base", repeat, 0), strict=True))
    cases = [f"p{i}" for i in range(len(risks))]
    made = pd.DataFrame({**place, "pattern": pattern, "draw": 0, "case": cases, "risk": risks})
    return made.assign(S_12=0.123456, S_24=0.1)


# risks that are equal, tie within the tolerance, or differ by less than single precision holds
CLOSE = st.sampled_from([-1e3, 0.0, 1e-12, 0.7e-8, 1.3e-8, 0.1, 0.1 + 1e-12, 2.0, 2.0 + 1e-7, 7e8])
RISKS = st.lists(CLOSE | st.floats(-5, 5), min_size=4)


@given(RISKS)
def test_ranks_keep_every_concordance(risks: list[float]) -> None:
    small = compact(predictions(risks, "half"))
    time = np.arange(1.0, len(risks) + 1)
    event = np.ones(len(risks), dtype=bool)
    assert harrell_c(time, event, small["risk"].to_numpy()) == harrell_c(time, event, np.asarray(risks))
    assert small[["S_12", "S_24"]].isna().all(axis=None)


def test_ranks_are_dense_and_tie_where_risks_tie() -> None:
    assert list(compact(predictions([2.0, 0.1, 0.1 + 1e-9, -3.0], "half"))["risk"]) == [3, 2, 2, 1]


def test_a_chain_of_ties_that_reaches_too_far_keeps_its_risks() -> None:
    chain = [0.0, 0.7e-8, 1.4e-8, 1.0]
    assert list(compact(predictions(chain, "half"))["risk"]) == chain


def test_ranks_are_of_one_fold_pattern_and_draw() -> None:
    one, other = predictions([0.3, 0.1], "half"), predictions([9.0, 8.0], "half").assign(draw=1)
    small = compact(pd.concat([one, other], ignore_index=True))
    assert list(small["risk"]) == [2, 1, 2, 1]


def test_the_full_pattern_keeps_its_risks_and_the_first_repeat_its_curves() -> None:
    frames = [predictions([0.3, 1 / 3], "full", repeat) for repeat in (0, 1)]
    small = compact(pd.concat(frames, ignore_index=True))
    assert list(small["risk"]) == [0.3, 1 / 3] * 2
    assert list(small["S_12"][:2]) == pytest.approx([0.123, 0.123])
    assert small["S_12"][2:].isna().all()


def test_the_frame_given_stays_as_it_was() -> None:
    given_frame = predictions([0.3, 0.1], "half")
    before = given_frame.copy()
    compact(given_frame)
    pd.testing.assert_frame_equal(given_frame, before)


SPECIAL = st.sampled_from([0.0, 1e-300, 1e-12, 0.5, 0.5 + 1e-12, 1 - 1e-13, 1.0])
PROBABILITIES = SPECIAL | st.floats(0, 1, allow_subnormal=False)


@given(st.lists(PROBABILITIES, min_size=2))
def test_shortened_probabilities_keep_their_order_and_ten_digits(values: list[float]) -> None:
    def of(pattern: str) -> pd.DataFrame:
        frame = predictions(values, pattern).drop(columns=["risk", "S_12", "S_24"])
        return frame.assign(**{"P(no)": 1 - np.array(values), "P(yes)": values})

    frame = pd.concat([of("full"), of("half")], ignore_index=True)
    small, full = compact(frame), frame["pattern"] == "full"
    for name in ("P(no)", "P(yes)"):
        assert small[name][full].equals(frame[name][full])
        kept, was = small[name][~full].to_numpy(), frame[name][~full].to_numpy()
        np.testing.assert_allclose(kept, was, rtol=1e-10, atol=0)
        assert (np.sign(np.subtract.outer(kept, kept)) == np.sign(np.subtract.outer(was, was))).all()


def test_probabilities_of_other_datasets_stay_absent() -> None:
    frame = predictions([0.3, 0.1], "half").assign(**{"P(yes)": [np.nan, np.nan]})
    assert compact(frame)["P(yes)"].isna().all()
