"""A suite's names and options against what is installed."""

from __future__ import annotations

from collections.abc import Sequence

from fusionbench.core.errors import FusionBenchError, SuiteError, did_you_mean
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.suites import published_numbers
from fusionbench.suites.suite import Suite, problem_text


def check_names(suite: Suite, registry: Registry) -> None:
    """Every name and option of the suite against what is installed.

    Raises:
        SuiteError: with all problems at once.
    """
    problems = [*_ref_problems(registry, "datasets", suite.datasets), *_ref_problems(registry, "models", suite.models)]
    for variant in suite.variants():
        changed = [m.with_options(variant.model[m.name]) for m in suite.models if m.name in variant.model]
        problems += [f"variant {variant.name!r}: {p}" for p in _ref_problems(registry, "models", changed)]
    for metric in suite.metrics:
        if metric not in registry.names("metrics"):
            problems.append(did_you_mean("metric", metric, registry.names("metrics")))
    problems += [f"modalities: none given for dataset {d.name!r}" for d in suite.datasets if not suite.sets_of(d.name)]
    problems += published_numbers.problems(suite, registry)
    if problems:
        raise SuiteError(problem_text(f"suite {suite.name!r}", list(dict.fromkeys(problems))))


def _ref_problems(registry: Registry, kind: str, refs: Sequence[PluginRef]) -> list[str]:
    problems = []
    for ref in refs:
        try:
            validate_options(registry, kind, ref)
        except FusionBenchError as error:
            problems.append(str(error))
    return problems
