"""What holds of the controls for all inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusionbench_controls.coxnet import inner_folds, log_partial_likelihood
from fusionbench_controls.features import Outcomes, encode_ids, positions
from fusionbench_controls.forest import last_event_before
from hypothesis import given
from hypothesis import strategies as st

from fusionbench.survival import cox_partial_likelihood


@st.composite
def outcomes(draw: st.DrawFn) -> Outcomes:
    """Few distinct times, so that ties are common; at least one event; groups of rows."""
    n = draw(st.integers(2, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    event = rng.random(n) < draw(st.floats(0, 1))
    event[rng.integers(n)] = True
    group = np.unique(rng.integers(0, n, n), return_inverse=True)[1]
    return Outcomes(rng.normal(size=(n, 2)), rng.integers(1, 10, n).astype(float), event, group)


@given(outcomes(), st.floats(0, 50))
def test_partial_likelihood_is_that_of_the_cox_loss(rows: Outcomes, scale: float) -> None:
    log_risk = rows.x * scale
    value = log_partial_likelihood(log_risk, rows)
    for j in range(2):
        loss = cox_partial_likelihood(
            torch.from_numpy(log_risk[:, j]), torch.from_numpy(rows.time), torch.from_numpy(rows.event)
        )
        assert value[j] == pytest.approx(-float(loss) * rows.event.sum(), rel=1e-9, abs=1e-9)


@given(outcomes())
def test_moving_censored_times_back_keeps_every_risk_set(rows: Outcomes) -> None:
    moved = last_event_before(rows.time, rows.event)
    for time in rows.time[rows.event]:
        np.testing.assert_array_equal(rows.time >= time, moved >= time)


@given(outcomes(), st.integers(2, 6), st.integers(0, 9))
def test_inner_folds_keep_groups_and_leave_an_event_outside(rows: Outcomes, n_folds: int, seed: int) -> None:
    if len(np.unique(rows.group[rows.event])) < 2:
        return
    fold = inner_folds(rows, n_folds, np.random.default_rng(seed))
    for group in np.unique(rows.group):
        assert len(np.unique(fold[rows.group == group])) == 1
    for k in range(fold.max() + 1):
        assert rows.event[fold != k].any()
        assert (fold == k).any()


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1), unique=True))
def test_ids_survive_as_bytes(ids: list[str]) -> None:
    assert positions(encode_ids(ids), ids, "cox").tolist() == list(range(len(ids)))
