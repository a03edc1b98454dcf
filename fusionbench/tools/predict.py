"""Score new patients with a stored cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol
from fusionbench.core.types import Case, CaseSet, Member, PreparedCase
from fusionbench.data.protocol_view import JOIN, apply_protocol, protocol_modalities
from fusionbench.execution import evaluate
from fusionbench.execution.fit_context import restore_fit
from fusionbench.results.cell_files import prediction_columns
from fusionbench.suites.cell import ORACLE, with_tuned
from fusionbench.tasks import kind_of
from fusionbench.tools.find_cell import find_cell

if TYPE_CHECKING:
    import pandas as pd

    from fusionbench.execution.shared import SharedResources


def predict_cohort(resources: SharedResources, out: Path, key: str, cohort_ref: PluginRef) -> pd.DataFrame:
    """What a stored cell predicts of every case of a cohort: case, risk, prior, S_<month>; or case, prior, P(<class>).

    `prior` is True for a case without any of the model's modalities: it is given the training-mean prediction.

    Raises:
        ResultsError: no such cell, or one that did not finish. SuiteError: the cohort lacks a modality.
        DataError: its columns are not those that the model was trained on.
    """
    import pandas as pd

    store, name = find_cell(out, key)
    result = store.load(name)
    if result.status != "ok":
        raise ResultsError(f"cell {name} {result.status}: {result.reason}; it cannot predict")
    about = result.record["cell"]
    if about["model"] == ORACLE:
        raise ResultsError(
            f"cell {name} is the row of {about['policy']}, which are known of its own cohort only; it cannot predict"
        )
    protocol, named = Protocol.model_validate(about["protocol"]), tuple(about["modalities"].split(JOIN))
    cohort = resources.new_patients(cohort_ref, protocol.unit)
    absent = [m for m in named if m not in cohort.modalities]
    if absent:
        raise SuiteError(
            f"{cohort_ref} has no modality {', '.join(absent)}; the cell was trained on {about['modalities']}"
        )
    cohort = apply_protocol(cohort, protocol, [named])
    modalities = protocol_modalities(cohort, protocol, named)
    member = Member(with_tuned(PluginRef.parse(about["model"]), about.get("tuned", {})), modalities)
    specs = {m: cohort.specs_raw[m] for m in modalities}
    cases = CaseSet(tuple(cohort.cases), specs, None, _never)
    with guarded(f"model {member.model}", resources.registry.note, fitting=True):
        fit = restore_fit(result, cohort, resources.registry, resources.device, store.load, member)
        prediction, _ = evaluate.predict_all(fit.predictor, cases, fit.prior, f"model {member.model}")
    on_grid = kind_of(prediction).on_grid(prediction, evaluate.time_grid(about["tau"]))
    prior = [not cases.visible(case) for case in cases.cases]
    numbers, _ = prediction_columns([on_grid])
    frame = pd.DataFrame({"case": list(on_grid.ids), **numbers})
    frame.insert(2 if "risk" in numbers else 1, "prior", prior)
    return frame


def _never(case: Case, names: tuple[str, ...]) -> PreparedCase:
    raise AssertionError("a restored predictor brings its own preprocessing")
