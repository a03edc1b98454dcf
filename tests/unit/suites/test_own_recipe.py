"""A model's own recipe in a plan: what it changes, its key, and what is refused before any compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fusionbench import Options
from fusionbench.core.errors import PluginError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.registry import Registry
from fusionbench.suites.cell import Plan
from tests.unit.suites.test_plan import ModelBase, registry
from tests.unit.suites.test_plan import planned as toy_plan

SUITE = """
title = "Recipes"
datasets = ["toy"]
models = ["uni", "published", "published[recipe=own]"]
modalities = [["omic"]]

[protocol]
folds = 3
[train]
lr = 0.002
epochs = 9
"""


class PublishedOptions(Options):
    recipe: str = "suite"


class Published(ModelBase):
    """With a recipe on demand."""

    name = "published"
    Options = PublishedOptions
    own: Mapping[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "loss": "cox"}

    def recipe(self) -> Mapping[str, Any]:
        return self.own if self.options.recipe == "own" else {}  # type: ignore[attr-defined]


def planned(text: str = SUITE, model: type | None = None, **own: Any) -> Plan:
    """The plan where the model's own recipe is `own`."""
    of = model or type("Published", (Published,), {"own": own or Published.own})
    plain = registry()
    models = {**plain.found["models"], "published": (of, "toys")}
    return toy_plan(text, Registry(plain.plugins, {**plain.found, "models": models}))


def test_a_recipe_changes_what_it_names_in_the_rows_that_ask_for_it() -> None:
    cells = {str(cell.model): cell for cell in planned().cells}
    usual, own = cells["published"], cells["published[recipe=own]"]
    assert usual.recipe == TrainRecipe(lr=0.002, epochs=9) == cells["uni"].recipe
    assert own.recipe == TrainRecipe(lr=0.002, epochs=9, optimizer="sgd", momentum=0.9, loss="cox")
    assert (usual.own_recipe, own.own_recipe) == (False, True)
    assert own.ingredients["recipe"]["momentum"] == 0.9
    assert usual.ingredients["recipe"] == cells["uni"].ingredients["recipe"]
    assert (usual.task.n_outputs, own.task.n_outputs) == (4, 1)


def test_another_recipe_is_another_key_and_the_same_one_is_not() -> None:
    keys = [planned(lr=lr).cells[2].key for lr in (0.1, 0.1, 0.2)]
    assert keys[0] == keys[1] != keys[2]
    plain = {str(cell.model): cell.key for cell in planned().cells if cell.fold == 0}
    changed = {str(cell.model): cell.key for cell in planned(lr=0.1).cells if cell.fold == 0}
    assert [name for name in plain if plain[name] != changed[name]] == ["published[recipe=own]"]


def test_a_variant_changes_the_suites_recipe_below_it() -> None:
    text = SUITE + '[[variant]]\nname = "long"\ntrain = {epochs = 90, optimizer = "adam"}\n'
    of = {(str(c.model), c.variant): c.recipe for c in planned(text).cells}
    assert of["published", "long"].optimizer == "adam"
    assert (of["published[recipe=own]", "long"].optimizer, of["published[recipe=own]", "long"].epochs) == ("sgd", 90)


def test_batches_of_a_cox_recipe_are_not_computed_in_parts() -> None:
    """A suite for large bags splits batches, which this loss does not allow; the other rows go on split."""
    text = SUITE + '[[variant]]\nname = "parts"\ntrain = {max_tokens = 64}\n'
    of = {str(c.model): c.recipe.max_tokens for c in planned(text).cells if c.variant == "parts"}
    assert of == {"uni": 64, "published": 64, "published[recipe=own]": None}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"optimiser": "sgd"}, r"model published\[recipe=own\]: its recipe is refused: optimiser: Extra inputs"),
        ({"lr": -1}, "its recipe is refused: lr: Input should be greater than 0"),
        ({"momentum": 0.9}, "its recipe is refused: together: Value error, momentum belongs to optimizer 'sgd'"),
        ({"group": [{"parameters": ["a"]}]}, "group.0: Value error, a group of parameters needs lr"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_before_any_compute(own: dict[str, Any], said: str) -> None:
    with pytest.raises(PluginError, match=said) as caught:
        planned(**own)
    assert "\n" not in str(caught.value)


def test_a_recipe_that_does_not_fit_the_endpoint_is_a_skipped_row() -> None:
    """Label smoothing belongs to classes; the other rows go on."""
    skipped = {str(cell.model): cell.skip for cell in planned(label_smoothing=0.1).cells}
    assert skipped == {
        "uni": "",
        "published": "",
        "published[recipe=own]": "its own recipe does not fit survival endpoints: label_smoothing is for classes; "
        "leave it out",
    }


class Raising(Published):
    def recipe(self) -> Mapping[str, Any]:
        return {} if super().recipe() == {} else {"lr": self.options.rate}  # type: ignore[attr-defined]


def test_a_recipe_that_raises_names_the_model() -> None:
    with pytest.raises(PluginError, match=r"own\]: recipe\(\) or stages\(\) raised AttributeError"):
        planned(model=Raising)
