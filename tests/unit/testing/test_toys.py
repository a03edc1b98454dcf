from __future__ import annotations

import numpy as np
import pytest
import torch

from fusionbench.testing.toys import TOYS, toy_case_set, toy_cases, toy_task


def test_a_toy_case_set_is_ready_for_fit() -> None:
    cases = toy_case_set(30, modalities=tuple(TOYS))
    assert list(cases.specs) == list(TOYS)
    assert cases.targets is not None
    task = toy_task(cases)
    assert task.n_outputs == 4
    assert set(cases.targets.time_bin) == {0, 1, 2, 3}
    for case in cases:
        for name, bag in case.bags.items():
            assert bag.values.shape[1] == cases.specs[name].dim
            assert bag.values.dtype == torch.float32
            assert bool(torch.isfinite(bag.values).all())
    assert cases.specs["omic"].groups["group_1"] == (2, 3, 4)
    with pytest.raises(ValueError, match="targets"):
        toy_task(cases.without_targets())


def test_toys_are_the_same_every_time_and_differ_by_seed() -> None:
    once, again, other = toy_cases(5, 1), toy_cases(5, 1), toy_cases(5, 2)
    assert once[3].target == again[3].target != other[3].target
    np.testing.assert_array_equal(once[3].refs["image"], again[3].refs["image"])


def test_missing_toys_keep_one_modality_and_can_be_filled() -> None:
    cases = toy_case_set(60, missing=0.6, modalities=("clinical", "omic", "image", "map"))
    assert all(case.bags for case in cases)
    assert any(len(case.bags) == 1 for case in cases)
    filled = toy_case_set(60, missing=0.6, modalities=("clinical", "omic", "image", "map"), impute=True)
    assert all(list(case.bags) == ["clinical", "omic", "image", "map"] for case in filled)
