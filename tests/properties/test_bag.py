from __future__ import annotations

import json

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusionbench import ModalityUse
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.instances import InstanceOptions, Moments

numbers = st.floats(-1000, 1000, width=32)
bags = st.lists(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(3)), elements=numbers), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=60)
@given(bags)
def test_moments_in_pieces_equal_those_of_the_whole(parts: list[np.ndarray]) -> None:
    moments = Moments.empty(3)
    for part in parts:
        moments.add(part)
    whole = np.concatenate(parts).astype(np.float64)
    assert moments.count == len(whole)
    np.testing.assert_allclose(moments.mean, whole.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(moments.sd, whole.std(axis=0), atol=1e-6)
    assert ((moments.sd == 0) == (np.ptp(whole, axis=0) == 0)).all()


@example([np.array([[6.9e-42, 0, 0], [0, 0, 0]], np.float32)], "standard")
@settings(deadline=None, max_examples=60)
@given(bags, st.sampled_from(["standard", "none"]))
def test_prepared_bags_are_finite_keep_their_rows_and_restore_exactly(parts: list[np.ndarray], scale: str) -> None:
    modality = Bag("b", ModalityUse("bag", 3), InstanceOptions(scale=scale))
    raws = [modality.load(part) for part in parts]
    fitted = modality.fit(iter(raws))
    again = modality.restore(json.loads(json.dumps(fitted.state(), allow_nan=False)))
    for raw in raws:
        z = fitted(raw)
        assert z.shape == raw.values.shape
        assert bool(torch.isfinite(z).all())
        assert torch.equal(again(raw), z)
    assert torch.equal(again.mean(), fitted.mean())
