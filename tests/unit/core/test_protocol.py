"""Recipes and protocols refuse what contradicts itself, while the suite is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from fusionbench.core.protocol import AS_PUBLISHED, AS_PUBLISHED_TRAINING, Protocol, TrainRecipe, overlay, switch_table


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"momentum": 0.9}, "momentum belongs to optimizer 'sgd'"),
        ({"loss": "cox", "alpha": 0.4}, "belong to time bins"),
        ({"loss": "cox", "class_weights": "inverse"}, "belong to time bins"),
        ({"loss": "cox", "batch_size": 1}, "batch_size to 2 or more"),
        ({"epochs": 0}, "greater than or equal to 1"),
        ({"epoch": 3}, "Extra inputs"),
        ({"loss": "ce", "weight_on": "likelihood"}, "belongs to loss 'nll'"),
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


def test_a_base_sets_every_switch_and_a_key_beside_it_wins() -> None:
    published = Protocol.model_validate({"base": "as-published", "folds": 7})
    assert all(getattr(published, key) == value for key, value in AS_PUBLISHED.items())
    assert published.folds == 7
    recipe = TrainRecipe.model_validate({"base": "as-published", "lr": 1e-3})
    assert recipe.lr == 1e-3
    assert all(getattr(recipe, key) == value for key, value in AS_PUBLISHED_TRAINING.items() if key != "lr")


def test_a_variant_may_change_the_base_and_back() -> None:
    suite = Protocol(folds=3, repeats=2, unit="slide")
    published = overlay(suite, {"base": "as-published", "clip": 5.0})
    assert (published.folds, published.repeats, published.fold_source, published.clip) == (3, 2, "random", 5.0)
    assert overlay(published, {"base": "clean"}) == Protocol(folds=3, repeats=2)
    assert overlay(TrainRecipe(epochs=9), {"base": "as-published"}).epochs == 50
    assert overlay(TrainRecipe.model_validate({"base": "as-published"}), {"base": "clean"}) == TrainRecipe()


@pytest.mark.parametrize("kind", [Protocol, TrainRecipe])
def test_a_resolved_value_reads_back(kind: type[Protocol] | type[TrainRecipe]) -> None:
    for given in ({}, {"base": "as-published"}):
        value = kind.model_validate(given)
        assert kind.model_validate(value.model_dump()) == value


def test_every_switch_differs_between_the_bases() -> None:
    clean, recipe = Protocol(), TrainRecipe()
    assert [k for k, v in AS_PUBLISHED.items() if getattr(clean, k) == v] == []
    assert [k for k, v in AS_PUBLISHED_TRAINING.items() if getattr(recipe, k) == v] == []


def test_a_label_says_what_departs_from_the_base() -> None:
    assert Protocol(folds=3).label == "clean"
    assert Protocol(unit="slide", scale=False).label == "clean, unit=slide, scale=false"
    published = Protocol.model_validate({"base": "as-published", "clip": 5.0})
    assert published.label == "as-published, clip=5.0"
    assert Protocol(clip=None).label == "clean, clip=none"


def test_every_switch_moves_something() -> None:
    for usual, published in ((Protocol(), AS_PUBLISHED), (TrainRecipe(), AS_PUBLISHED_TRAINING)):
        assert [key for key, value in published.items() if getattr(usual, key) == value] == []


def test_the_document_shows_the_switches_that_the_code_has() -> None:
    text = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
    assert f"\n{switch_table()}\n" in text, "write the section again with fusionbench.core.protocol.switch_table()"


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"optimizer": "sgd", "betas": [0.9, 0.99]}, "betas belong to Adam"),
        ({"betas": [0.9, 1.0]}, "less than 1"),
        ({"lookahead_rate": 0.8}, "belong to lookahead, which is off"),
        ({"lookahead": 0}, "greater than or equal to 1"),
        ({"schedule": "onecycle", "warmup": 1}, "warm-up of its own"),
        ({"schedule": "constant", "hold": 1}, "holds the rate to the end"),
        ({"warmup": 20, "hold": 11, "epochs": 30}, "take 31 epochs, more than epochs = 30"),
        ({"group": [{"parameters": ["a"]}]}, "needs lr, weight_decay or both"),
        ({"group": [{"parameters": [], "lr": 1}]}, "at least 1 item"),
    ],
)
def test_newer_keys_that_contradict_others_are_refused(recipe: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        overlay(TrainRecipe(), recipe)


def test_newer_keys_are_written_only_where_they_are_set() -> None:
    """Keys of cells are hashes of what is written: those of recipes without them stay as they were."""
    newer = {"betas": (0.5, 0.9), "lookahead": 6, "decay_on": "matrices", "l1_on": ("a.*",), "warmup": 1.0}
    changed = overlay(TrainRecipe(), newer | {"group": [{"parameters": ["a"], "lr": 0.1}], "hold": 2.0})
    written = changed.model_dump(mode="json")
    assert set(written) - set(TrainRecipe().model_dump()) == {*newer, "group", "hold"}
    assert TrainRecipe.model_validate(written) == changed
    assert hash(changed) == hash(TrainRecipe.model_validate(written))
