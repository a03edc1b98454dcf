"""The rule on external cohorts: whoever a model is tested on there is not of the cohort that it was fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fusionbench.core.plural import plural
from fusionbench.data.inspection.between import SAME_NAMES, SAME_PATIENTS
from fusionbench.results.audit_verdict import Finding, Line, verdict

if TYPE_CHECKING:
    from fusionbench.execution.shared import SharedResources
    from fusionbench.suites.cell import Plan
    from fusionbench.suites.suite import Suite


def readable(suite: Suite, unread: Mapping[str, str]) -> Line:
    """Predictions of a cohort whose files are gone stay, and nothing can be held against them."""
    findings = [Finding(f"{name}: {why}", name) for name, why in unread.items()]
    counted = plural(sum(len(asked.test) for asked in suite.external), "external test")
    return verdict("every external cohort is here, so that its tests could be audited", findings, counted, unread)


def apart(plan: Plan, resources: SharedResources) -> Line:
    """No case of an external cohort has the id, the group or the values of a case that models are fitted on.

    Ids alone, with other values and outcomes, are declared: two cohorts that number their patients from 1.
    """
    tests = {(cell.row[0], cell.unit): (cell.dataset, cell.external) for cell in plan.external}
    findings, cases = [], 0
    for (name, unit), (train, test) in tests.items():
        assert test is not None
        cases += len(resources.new_patients(test, unit).cases)
        warnings = resources.between(train, test, unit)
        findings += [
            Finding(f"{name}: {w.text}", name if w.kind == SAME_NAMES else "", f"{name} {unit}")
            for w in warnings
            if w.kind in (*SAME_PATIENTS, SAME_NAMES)
        ]
    counted = f"{plural(len(tests), 'external test')} with {plural(cases, 'case')}"
    return verdict("patients of external cohorts were not trained on", findings, counted)
