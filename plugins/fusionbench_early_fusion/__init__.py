"""Early fusion: everything flattened into one input, then HEALNet on that one modality (Hemker et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_early_fusion.model import EarlyFusion

    return [EarlyFusion]
