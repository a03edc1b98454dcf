"""Predict a cohort's cases with stored cells: one cell, or all fold models of a table row and their mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol
from fusionbench.core.types import Member, Prediction, Task
from fusionbench.data.cohort import Cohort
from fusionbench.data.protocol_view import JOIN, apply_protocol, protocol_modalities
from fusionbench.execution import evaluate
from fusionbench.execution.external import differences, new_cases
from fusionbench.execution.fit_context import restore_fit
from fusionbench.results.cell_files import prediction_columns
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, with_tuned
from fusionbench.tasks import kind_of, kind_with

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from fusionbench.core.cell_result import CellResult
    from fusionbench.execution.shared import SharedResources


@dataclass(frozen=True, eq=False)
class CohortPrediction:
    """What stored cells predict of every case of a cohort.

    Attributes:
        cohort: the cohort as it was read; its cases may have outcomes.
        of_models: the prediction of each cell, S on the time grid.
        modalities: (case,) those of the row that the case has, joined with +; empty where it has none, so that it is
            given the training-mean prediction.
        task: what was learnt, of the first cell.
        tau: horizon of the metrics, in months; 0 where classes are predicted.
        metrics: with which the cells were scored.
        differences: how the cohort differs from the training cases, one line each.
        folds: dataset, variant, repeat and fold of each cell.
    """

    cohort: Cohort
    of_models: tuple[Prediction, ...]
    modalities: tuple[str, ...]
    task: Task
    tau: float
    metrics: tuple[str, ...]
    differences: tuple[str, ...]
    folds: tuple[tuple[str, str, int, int], ...]

    @property
    def mean(self) -> Prediction:
        """The mean over the models: of risks and S, or of probabilities."""
        return kind_of(self.of_models[0]).average(self.of_models)

    @property
    def prior(self) -> NDArray[np.bool_]:
        """(case,) whether a case has none of the modalities."""
        return np.array([not names for names in self.modalities])

    def frame(self) -> pd.DataFrame:
        """One row a case: case, risk, prior, modalities, S_<month>; or case, prior, modalities, P(<class>)."""
        import pandas as pd

        numbers, _ = prediction_columns([self.mean])
        frame = pd.DataFrame({"case": list(self.mean.ids), **numbers})
        first = 2 if "risk" in numbers else 1
        frame.insert(first, "prior", self.prior)
        frame.insert(first + 1, "modalities", self.modalities)
        return frame


def predict_cells(
    resources: SharedResources, store: Store, keys: Sequence[str], cohort_ref: PluginRef
) -> CohortPrediction:
    """What stored cells of one row predict of every case of a cohort.

    Args:
        keys: of the cells: one, or one for each fold.

    Raises:
        ResultsError: a cell did not finish, or cannot predict. SuiteError: the cohort has none of the modalities.
        DataError: its columns are not those that the model was trained on.
    """
    loaded = [_loaded(store, key) for key in keys]
    about = loaded[0].record["cell"]
    protocol, named = Protocol.model_validate(about["protocol"]), tuple(about["modalities"].split(JOIN))
    cohort = resources.new_patients(cohort_ref, protocol.unit)
    if not any(name in cohort.modalities for name in named):
        raise SuiteError(
            f"{cohort_ref} has none of the modalities {', '.join(named)}; it has {', '.join(cohort.modalities)}"
        )
    cohort = apply_protocol(cohort, protocol, [named])
    modalities = protocol_modalities(cohort, protocol, named)
    made, lines, has = [], dict[str, None](), list[str]()
    for result in loaded:
        of_cell = result.record["cell"]
        member = Member(with_tuned(PluginRef.parse(of_cell["model"]), of_cell.get("tuned", {})), modalities)
        with guarded(f"model {member.model}", resources.registry.note, fitting=True):
            fit = restore_fit(result, cohort, resources.registry, resources.device, store.load, member)
            cases = new_cases(fit, cohort)
            prediction, _ = evaluate.predict_all(fit.predictor, cases, fit.prior, f"model {member.model}")
        has = [JOIN.join(cases.visible(case)) for case in cases.cases]
        lines |= dict.fromkeys(differences(fit, cohort))
        made.append(kind_of(prediction).on_grid(prediction, evaluate.time_grid(of_cell["tau"])))
    first = loaded[0].record
    task = kind_with(first["fit"].get("classes", ())).task_of(first["fit"])
    cells = [result.record["cell"] for result in loaded]
    folds = tuple((of["dataset"], of["variant"], int(of["repeat"]), int(of["fold"])) for of in cells)
    return CohortPrediction(
        cohort, tuple(made), tuple(has), task, about["tau"], tuple(first["metrics"]), tuple(lines), folds
    )


def _loaded(store: Store, key: str) -> CellResult:
    result = store.load(key)
    if result.status != "ok":
        raise ResultsError(f"cell {key} {result.status}: {result.reason}; it cannot predict")
    about = result.record["cell"]
    if "external" in about:
        raise ResultsError(f"cell {key} holds what another cell predicts of {about['external']}; it has no model")
    if about["model"] == ORACLE:
        raise ResultsError(
            f"cell {key} is the row of {about['policy']}, which are known of its own cohort only; it cannot predict"
        )
    return result
