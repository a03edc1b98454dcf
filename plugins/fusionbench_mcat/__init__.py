"""MCAT: groups of features attend to the instances of a bag (Chen et al. 2021).

The package root is what other plugins may import: `Mcat`, `McatNetwork`, `McatOptions`, and the groups of columns that
become tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_mcat.blocks import GroupEncoder as GroupEncoder
    from fusionbench_mcat.blocks import SetPool as SetPool
    from fusionbench_mcat.groups import Group as Group
    from fusionbench_mcat.groups import declared_groups as declared_groups
    from fusionbench_mcat.groups import one_group as one_group
    from fusionbench_mcat.groups import parts_of as parts_of
    from fusionbench_mcat.groups import remarks as remarks
    from fusionbench_mcat.groups import without_columns as without_columns
    from fusionbench_mcat.models import Mcat as Mcat
    from fusionbench_mcat.network import McatNetwork as McatNetwork
    from fusionbench_mcat.options import McatOptions as McatOptions

_HOMES = {
    **dict.fromkeys(("GroupEncoder", "SetPool"), "blocks"),
    **dict.fromkeys(("Group", "declared_groups", "one_group", "parts_of", "remarks", "without_columns"), "groups"),
    "Mcat": "models",
    "McatNetwork": "network",
    "McatOptions": "options",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_mcat.models import Mcat, McatOmic, McatWsi

    return [Mcat, McatOmic, McatWsi]
