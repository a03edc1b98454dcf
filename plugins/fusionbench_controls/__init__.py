"""What a fusion model has to beat: controls on plain vectors, late fusion and uni-modal models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import FusionModel


@hookimpl
def fusionbench_models() -> Iterable[type[FusionModel]]:
    from fusionbench_controls.best_unimodal import BestUnimodal
    from fusionbench_controls.boosting import GradientBoosting
    from fusionbench_controls.cox import Cox
    from fusionbench_controls.forest import SurvivalForest
    from fusionbench_controls.late_fusion import LateFusion
    from fusionbench_controls.logistic import Logistic
    from fusionbench_controls.random_forest import RandomForest
    from fusionbench_controls.xor_unimodal import XorUnimodal

    return [Cox, SurvivalForest, Logistic, RandomForest, GradientBoosting, LateFusion, BestUnimodal, XorUnimodal]
