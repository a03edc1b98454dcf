"""Recipes and protocols refuse what contradicts itself, while the suite is read."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fusionbench.protocol import Protocol, TrainRecipe, overlay


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"momentum": 0.9}, "momentum belongs to optimizer 'sgd'"),
        ({"loss": "cox", "alpha": 0.4}, "belong to time bins"),
        ({"loss": "cox", "class_weights": "inverse"}, "belong to time bins"),
        ({"loss": "cox", "batch_size": 1}, "batch_size to 2 or more"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epoch": 3}, "Extra inputs"),
    ],
)
def test_recipes_that_contradict_themselves_are_refused(recipe: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        overlay(TrainRecipe(), recipe)


def test_an_overlay_changes_what_it_names_and_nothing_else() -> None:
    changed = overlay(Protocol(repeats=3), {"folds": 4})
    assert changed == Protocol(repeats=3, folds=4)


def test_a_suite_writes_none_for_null() -> None:
    assert overlay(TrainRecipe(), {"patience": "none"}).patience is None


def test_values_are_immutable() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainRecipe().lr = 1.0
