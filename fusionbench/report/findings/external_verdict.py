"""What other cohorts say of a dataset's models, in a sentence or two for each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from fusionbench.report.analysis import Analysis
from fusionbench.report.external_tests import ExternalMean, ExternalTest, difference
from fusionbench.report.findings.select_rows import BEST_UNIMODAL, XOR, is_model
from fusionbench.report.model import FULL
from fusionbench.report.ranking import ALPHA
from fusionbench.suites.suite import BASE
from fusionbench.survival.stats import holm


def external_sentences(analysis: Analysis, dataset: str) -> Iterator[str]:
    """A text for each external cohort: how the best row of the test folds fares there, and whether fusion helps there.

    Rows of the first variant count, with a prediction of every fold model.
    """
    for test in analysis.external:
        if test.train == dataset:
            yield _of_test(analysis, test)


def _of_test(analysis: Analysis, test: ExternalTest) -> str:
    where = f"Tested on {test.test} ({test.cases} cases{f', {test.outcomes}' if test.outcomes else ''})"
    if not test.cases:
        return f"Predicted on {test.test}, where no outcome is known: nothing is scored."
    means = test.of(analysis.stored.ranking(test.train), FULL)
    whole = [m for m in means if m.row[3] == means[0].row[3] and m.whole]
    if not whole:
        return f"{where}: no row has a score of every fold model."
    inside = [m for m in whole if not math.isnan(m.internal)]
    text = where + ": "
    if inside:
        chosen = max(inside, key=lambda m: m.internal)
        text += (
            f"the best row of the test folds, {_name(chosen)}, goes from {chosen.internal:.3f} to "
            f"{chosen.external.text()}, a fall of {chosen.fall.text(signed=True)}. "
        )
    best = max(whole, key=lambda m: m.external.value)
    fusion = _fusion(analysis, whole, test.no_interval)
    return f"{text}Best there: {_name(best)} {best.external.text()}.{f' {fusion}' if fusion else ''}"


def _fusion(analysis: Analysis, means: Sequence[ExternalMean], no_interval: str) -> str:
    """The best fusion row against the best of one modality, p adjusted over all fusion rows; empty without both.

    Args:
        no_interval: why nothing is tested; empty where it is.
    """
    models = [m for m in means if not is_model(m.row, BEST_UNIMODAL, XOR)]
    # Imported rows of external cohorts are no rows of the table, which knows how many inputs each has.
    inputs = {m.row: analysis.inputs.get(m.row, m.row[2].count("+") + 1) for m in models}
    fused = [m for m in models if inputs[m.row] > 1]
    alone = [m for m in models if inputs[m.row] == 1]
    if not fused or not alone:
        return ""
    reference = max(alone, key=lambda m: m.external.value)
    best = max(fused, key=lambda m: m.external.value)
    tests = [difference(m, reference) for m in fused]
    p = float(holm([p for _, p in tests])[fused.index(best)])
    gap = tests[fused.index(best)][0]
    against = f"{_name(best)} against {_name(reference)}: {gap.text(signed=True)}"
    if math.isnan(p):
        return f"Fusion there, not tested{f' ({no_interval})' if no_interval else ''}: {against}."
    seen = f"{against}, p = {p:.3f}" if p >= 0.001 else f"{against}, p < 0.001"
    if p > ALPHA:
        return f"No fusion row beats the best single modality there ({seen})."
    return f"Fusion {'helps' if gap.value > 0 else 'hurts'} there ({seen})."


def _name(mean: ExternalMean) -> str:
    return f"{mean.row[1]} on {mean.row[2]}" + ("" if mean.row[3] == BASE else f" ({mean.row[3]})")
