"""SurvPath: pathways and patches attend to one another, without the patches among themselves (Jaume et al. 2024).

The package root is what other plugins may import: `SurvPath`, `SurvPathNetwork` and `SurvPathOptions`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel
    from fusionbench_survpath.model import SurvPath as SurvPath
    from fusionbench_survpath.network import SurvPathNetwork as SurvPathNetwork
    from fusionbench_survpath.options import SurvPathOptions as SurvPathOptions

_HOMES = {
    "SurvPath": "model",
    "SurvPathNetwork": "network",
    "SurvPathOptions": "options",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch on first use only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_survpath.model import SurvPath

    return [SurvPath]
