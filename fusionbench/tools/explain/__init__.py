"""Explanations of single predictions: a stored model's attention on a test case, and contributions to its risk
or to the log odds of a class.

Made from what a run has stored: preprocessing and weights of the cell in whose test fold the case is. Nothing is
trained. `Request` names the cases and the model, `explain` writes the explanations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.tools.explain.explanation import Explanation, explain_case
from fusionbench.tools.explain.loaded_case import LoadedCase
from fusionbench.tools.explain.output import write_explanation, write_summary
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.select import refuse_published, select_cases

__all__ = ["ExplainReport", "Explanation", "Request", "explain", "refuse_published"]


@dataclass(frozen=True, eq=False)
class ExplainReport:
    """Explanations with the files that hold them.

    Attributes:
        explanations: of each case, from the highest score down.
        pages: path of explanation.html of each case, in the same order.
        summary: path of summary.csv; None for a request that names one case.
    """

    explanations: tuple[Explanation, ...]
    pages: tuple[Path, ...]
    summary: Path | None


def explain(
    plan: Plan,
    store: Store,
    resources: SharedResources,
    request: Request,
    report: Callable[[str], None] | None = None,
) -> ExplainReport:
    """Explain the cases of a request and write the explanations below the suite's results.

    Args:
        plan: of the suite as it was run, at least of the request's model.
        report: called with a line for each page once it is written, and with the verdicts on its attention.

    Raises:
        SuiteError, ResultsError: before any compute, where the request does not fit what is stored.
        DataError: a file of the case cannot be read.
    """
    request.check()
    written: list[tuple[Explanation, Path]] = []
    for selected in select_cases(plan, store, request):
        loaded = LoadedCase.load(selected, store, resources)
        explanation = explain_case(loaded, selected, request.slides, request.draws)
        written.append((explanation, write_explanation(explanation, store, request)))
        if report is not None:
            report(f"{selected.case}: {written[-1][1]}")
            for modality in explanation.modalities:
                report(f"  {modality.verdict.text}")
    summary = None if request.top_risk is None else write_summary(written, store)
    return ExplainReport(tuple(explanation for explanation, _ in written), tuple(page for _, page in written), summary)
