"""What cells of a process share: a modality that no training case shows is told with the number of those asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fusionbench.builtin.bag import Bag
from fusionbench.builtin.vector import Vector
from fusionbench.core.errors import DataError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol
from fusionbench.core.registry import discover
from fusionbench.core.types import Fold
from fusionbench.execution.shared import SharedResources
from fusionbench.testing.toys import TOYS, toy_cases


@pytest.mark.parametrize(
    ("hide", "said"),
    [
        (False, "none of 5 training cases has modality 'image'; leave it out or take other folds"),
        (True, "the training pattern hides modality 'omic' from all 5 training cases that have it"),
    ],
)
def test_a_modality_that_no_training_case_shows(hide: bool, said: str) -> None:
    cases = toy_cases(6, modalities=("omic", "image"))
    cases = (*(replace(c, refs={"omic": c.refs["omic"]}) for c in cases[:5]), cases[5])
    readers = {
        "omic": Vector("omic", TOYS["omic"], Vector.Options()),
        "image": Bag("image", TOYS["image"], Bag.Options()),
    }
    cohort: Any = SimpleNamespace(cases=cases, modalities=readers)
    train = tuple(case.id for case in cases[:5])
    name = "omic" if hide else "image"
    cell: Any = SimpleNamespace(
        dataset=PluginRef.of("toy"), protocol=Protocol(), modalities=(name,), split=Fold(train, (), (cases[5].id,))
    )
    hidden = {case: frozenset({"omic"}) for case in train} if hide else {}
    with pytest.raises(DataError, match=said):
        SharedResources(discover(()), Path()).preprocessor(cell, cohort, hidden)
