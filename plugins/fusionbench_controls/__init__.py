"""What a fusion model has to beat: penalised Cox, random survival forest and late fusion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_controls.cox import Cox
    from fusionbench_controls.forest import SurvivalForest
    from fusionbench_controls.late_fusion import LateFusion

    return [Cox, SurvivalForest, LateFusion]
