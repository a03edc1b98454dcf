"""The rule on external cohorts: whoever a model is tested on there is not of the cohort that it was fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionbench.data.inspection.between import SAME_PATIENTS
from fusionbench.results.audit_verdict import Finding, Line, verdict

if TYPE_CHECKING:
    from fusionbench.execution.shared import SharedResources
    from fusionbench.suites.cell import Plan


def apart(plan: Plan, resources: SharedResources) -> Line:
    """No case of an external cohort has the id, the group or the values of a case that models are fitted on."""
    tests = {(cell.row[0], cell.unit): (cell.dataset, cell.external) for cell in plan.external}
    findings, cases = [], 0
    for (name, unit), (train, test) in tests.items():
        assert test is not None
        cases += len(resources.new_patients(test, unit).cases)
        warnings = (w for w in resources.between(train, test, unit) if w.kind in SAME_PATIENTS)
        findings += [Finding(f"{name}: {w.text}", unit=f"{name} {unit}") for w in warnings]
    counted = f"{len(tests)} external tests with {cases} cases"
    return verdict("patients of external cohorts were not trained on", findings, counted)
