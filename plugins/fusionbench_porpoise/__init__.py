"""Porpoise: attention over a bag and a self-normalising network on vectors, fused late (Chen et al. 2022).

The package root is what other plugins may import: the models and their options, `PorpoiseNetwork`, `Sized`, the
reasons to skip.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_porpoise.models import Porpoise as Porpoise
    from fusionbench_porpoise.models import PorpoiseAmil as PorpoiseAmil
    from fusionbench_porpoise.models import PorpoiseSnn as PorpoiseSnn
    from fusionbench_porpoise.networks import PorpoiseNetwork as PorpoiseNetwork
    from fusionbench_porpoise.options import PorpoiseAmilOptions as PorpoiseAmilOptions
    from fusionbench_porpoise.options import PorpoiseOptions as PorpoiseOptions
    from fusionbench_porpoise.options import PorpoiseSnnOptions as PorpoiseSnnOptions
    from fusionbench_porpoise.options import Sized as Sized
    from fusionbench_porpoise.takes import SLIDES_AND_TABLES as SLIDES_AND_TABLES
    from fusionbench_porpoise.takes import not_bag_and_vectors as not_bag_and_vectors
    from fusionbench_porpoise.takes import sides as sides

_HOMES = {
    **dict.fromkeys(("Porpoise", "PorpoiseAmil", "PorpoiseSnn"), "models"),
    **dict.fromkeys(("PorpoiseAmilOptions", "PorpoiseOptions", "PorpoiseSnnOptions", "Sized"), "options"),
    **dict.fromkeys(("SLIDES_AND_TABLES", "not_bag_and_vectors", "sides"), "takes"),
    "PorpoiseNetwork": "networks",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_porpoise.models import Porpoise, PorpoiseAmil, PorpoiseSnn

    return [Porpoise, PorpoiseAmil, PorpoiseSnn]
