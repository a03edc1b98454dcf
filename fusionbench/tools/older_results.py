"""Results of an earlier RESULTS_VERSION: they have other keys, and can still be read, reported and audited."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fusionbench.core.errors import SuiteError
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import RESULTS_VERSION, Cell, Plan, canonical, cell_key

Ingredients = Mapping[str, Any]

_SAME = ("modality_order", "recipe", "protocol", "patterns", "split", "seed", "repeat", "fold", "model", "masked_over")
"""Ingredients that have had one form in all versions."""


def as_stored(plan: Plan, store: Store, resources: SharedResources) -> Plan:
    """The plan with the keys and ingredients under which an earlier RESULTS_VERSION stored its cells.

    A cell without such a result keeps its own key.
    """
    older: dict[str, Ingredients] = {}
    for key in sorted(store.keys(), key=lambda key: (store.cells / key).stat().st_mtime):  # of several the youngest
        ingredients = store.record(key)["record"].get("ingredients")
        if ingredients and ingredients["results_version"] != RESULTS_VERSION:
            older[_asked(ingredients, resources)] = ingredients
    found = {cell.key: older.get(_asked(cell.ingredients, resources)) for cell in plan.todo()}
    return replace(plan, cells=tuple(_renamed(cell, found) for cell in plan.cells))


def _renamed(cell: Cell, found: Mapping[str, Ingredients | None]) -> Cell:
    ingredients = found.get(cell.key)
    if ingredients is None:
        return cell
    members = tuple((member, _key(found.get(key)) or key) for member, key in cell.members)
    return replace(cell, key=_key(ingredients), ingredients=ingredients, members=members)


def _key(ingredients: Ingredients | None) -> str:
    """The key that ingredients of any version are hashed to; empty where there are none."""
    return cell_key(canonical(ingredients)) if ingredients else ""


def _asked(ingredients: Ingredients, resources: SharedResources) -> str:
    """What a cell was asked to be, without hashes of data and keys of members."""
    return canonical([_cohort_of(ingredients["dataset"], resources), *(ingredients.get(name) for name in _SAME)])


def _cohort_of(dataset: Mapping[str, Any], resources: SharedResources) -> str:
    """Which cohort a cell is of; version 2 had the dataset as written, with its path."""
    if "identity" in dataset:
        return str(dataset["identity"])
    ref = PluginRef.parse(dataset["written"])
    try:
        options = validate_options(resources.registry, "datasets", ref)
        return str(resources.registry.dataset(ref.name)(options, resources.home).identity)
    except SuiteError:  # it is not installed any more, or has other options: no planned cell is of it
        return str(ref)
