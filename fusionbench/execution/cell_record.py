"""What a cell's record says beside its numbers: what it was asked to be, and which code computes it."""

from __future__ import annotations

from typing import Any

from fusionbench.core import environment
from fusionbench.core.cell_result import CellResult
from fusionbench.core.plugin_source import source_of
from fusionbench.core.registry import Registry
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import ORACLE, Cell


def failure(cell: Cell, reason: str, *, seconds: float, **about: Any) -> CellResult:
    """A cell that has no numbers, with the first line of the reason; `about` goes into its record."""
    asked = {"cell": cell_columns(cell), "ingredients": dict(cell.ingredients)}
    record = {**asked, "seconds": {"total": seconds}, **about}
    return CellResult(cell.key, "failed", reason.strip().splitlines()[0] if reason.strip() else "", record=record)


def origin(cell: Cell, resources: SharedResources) -> dict[str, Any]:
    """What the cell was asked to be."""
    return {
        "cell": cell_columns(cell),
        "ingredients": dict(cell.ingredients),
        "recipe": cell.recipe.model_dump(mode="json"),
        "metrics": {name: resources.registry.metric(name).version for name in cell.metrics},
        **computed_by(cell, resources.registry),
        "members": [{"model": str(m.model), "modalities": list(m.modalities), "key": key} for m, key in cell.members],
    }


def computed_by(cell: Cell, registry: Registry) -> dict[str, Any]:
    """The code of a cell's model and dataset, and the distributions of all plugins that its numbers come from."""
    tested = cell.external or cell.dataset
    used = [("datasets", name) for name in dict.fromkeys((cell.dataset.name, tested.name))]
    used += [("metrics", name) for name in cell.metrics]
    used += [("modalities", reader["kind"]) for reader in cell.ingredients.get("modalities", {}).values()]
    used += [("models", ref.name) for ref in (cell.model, *(m.model for m, _ in cell.members)) if ref.name != ORACLE]
    owners = {owner.name: owner for kind, name in used for owner in [registry.owner(kind, name)]}
    return {
        "source": {} if cell.model.name == ORACLE else source_of(registry, "models", cell.model.name),
        "dataset_source": source_of(registry, "datasets", tested.name),
        "plugins": {name: f"{owner.distribution} {owner.version}" for name, owner in sorted(owners.items())},
    }


def computed_here(cell: Cell, resources: SharedResources) -> dict[str, Any]:
    """As much of a cell's record as says what computes it, before it is computed."""
    about = environment.describe(str(resources.device), resources.threads or 1)
    return {"cell": cell_columns(cell), **computed_by(cell, resources.registry), "environment": about}


def cell_columns(cell: Cell) -> dict[str, Any]:
    """What a cell is, as its record says it: row, repeat, fold, seed, horizon and protocol."""
    protocol = cell.protocol.model_dump(mode="json")
    tuned = {"tuned": dict(cell.tuned)} if cell.tuned else {}
    external = {} if cell.external is None else {"external": str(cell.external)}
    return {
        **cell.columns,
        **tuned,
        **external,
        "policy": cell.policy,
        "tau": cell.tau,
        "seed": cell.seed,
        "protocol": protocol,
    }
