"""Where a stored model looks in a patient, and whether that matters to the risk that it predicts.

Made of what a run has stored (preprocessing and weights of the cell in whose test fold the patient is); nothing is
trained. `Request` says what is asked for, `explain` answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusionbench.execution.shared import SharedResources
from fusionbench.results.store import Store
from fusionbench.suites.cell import Plan
from fusionbench.tools.explain.explanation import Explanation, gather
from fusionbench.tools.explain.loaded_case import Subject
from fusionbench.tools.explain.output import write, write_summary
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.select import choose, refuse_published

__all__ = ["Explained", "Explanation", "Request", "explain", "refuse_published"]


@dataclass(frozen=True, eq=False)
class Explained:
    """What was written.

    Attributes:
        pages: explanation.html of each case, from the highest risk down.
        summary: of several cases; None of one.
    """

    explanations: tuple[Explanation, ...]
    pages: tuple[Path, ...]
    summary: Path | None


def explain(
    plan: Plan,
    store: Store,
    resources: SharedResources,
    request: Request,
    tell: Callable[[str], None] | None = None,
) -> Explained:
    """Explain the cases of a request and write what comes of it below the suite's results.

    Args:
        plan: of the suite as it was run, at least of the request's model.
        tell: called with each page as it is written.

    Raises:
        SuiteError, ResultsError: before any compute, where the request does not fit what is stored.
        DataError: a file of the case cannot be read.
    """
    request.check()
    made: list[tuple[Explanation, Path]] = []
    for chosen in choose(plan, store, request):
        explanation = gather(
            Subject.load(chosen, store, resources, request.suite), chosen, request.slides, request.draws
        )
        made.append((explanation, write(explanation, store, request)))
        if tell is not None:
            tell(f"{chosen.case}: {made[-1][1]}")
    summary = None if request.top_risk is None else write_summary(made, store)
    return Explained(tuple(e for e, _ in made), tuple(page for _, page in made), summary)
