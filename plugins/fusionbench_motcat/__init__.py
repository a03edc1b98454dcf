"""MOTCat: patches are transported to feature groups in place of MCAT's attention (Xu and Chen 2023).

The package root is what other plugins may import: `Motcat`, `MotcatNetwork`, `MotcatOptions`, and the plans.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_motcat.model import Motcat as Motcat
    from fusionbench_motcat.network import MotcatNetwork as MotcatNetwork
    from fusionbench_motcat.options import MotcatOptions as MotcatOptions
    from fusionbench_motcat.transport import balanced_plan as balanced_plan
    from fusionbench_motcat.transport import unbalanced_plan as unbalanced_plan

_HOMES = {
    "Motcat": "model",
    "MotcatNetwork": "network",
    "MotcatOptions": "options",
    **dict.fromkeys(("balanced_plan", "unbalanced_plan"), "transport"),
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_motcat.model import Motcat

    return [Motcat]
