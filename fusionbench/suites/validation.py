"""A suite against what is installed: its names and options, and what its datasets have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from fusionbench.core.errors import FusionBenchError, SuiteError, did_you_mean
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol, overlay
from fusionbench.core.registry import Registry
from fusionbench.data.patterns import check_pattern
from fusionbench.suites import published_numbers
from fusionbench.suites.given_masks import read_masks
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_problems import problem_text
from fusionbench.tasks import TaskKind

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort

Cohorts = Callable[[PluginRef, str], "Cohort"]
"""Reads a dataset with a unit."""


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
    try:
        read_masks(suite)
    except SuiteError as error:
        problems.append(str(error))
    if problems:
        raise SuiteError(problem_text(f"suite {suite.name!r}", list(dict.fromkeys(problems))))


def check_modalities(suite: Suite, cohorts: Cohorts) -> None:
    """Modality sets and missing-modality patterns against what the datasets have.

    Raises:
        SuiteError: with all problems at once.
    """
    of_name: dict[str, tuple[str, ...]] = {}
    for ref in suite.datasets:
        names = cohorts(ref, suite.protocol.unit).info.modalities
        of_name[ref.name] = (*of_name.get(ref.name, ()), *names)
    everywhere = tuple(dict.fromkeys(m for names in of_name.values() for m in names))
    problems = []
    for dataset, own in of_name.items():
        # Sets for all datasets may name what only another one has: those rows are skipped with that reason.
        choices = everywhere if isinstance(suite.modalities, tuple) else own
        for wanted in suite.sets_of(dataset):
            problems += [
                did_you_mean(f"modality (dataset {dataset!r})", m, choices) for m in wanted if m not in choices
            ]
            if not wanted or len(set(wanted)) < len(wanted):
                problems.append(f"modality set {list(wanted)} of dataset {dataset!r} is empty or names one twice")
    problems += _pattern_problems(suite, everywhere)
    if problems:
        raise SuiteError(f"suite {suite.name!r}: " + "; ".join(dict.fromkeys(problems)))


def _pattern_problems(suite: Suite, modalities: Sequence[str]) -> Iterator[str]:
    for variant in suite.variants():
        protocol: Protocol = overlay(suite.protocol, variant.protocol)
        for pattern, single in (*((p, False) for p in protocol.test_patterns), (protocol.train_pattern, True)):
            try:
                check_pattern(pattern, modalities, single=single)
            except SuiteError as error:
                yield str(error)


def metrics_of(suite: Suite, registry: Registry, kinds: Mapping[str, TaskKind]) -> tuple[str, ...]:
    """The metrics of a suite; one that names none has the primary metric of each kind of endpoint.

    Args:
        kinds: dataset as written to the kind of its endpoint.

    A suite that the command line narrowed to some datasets has those metrics that score one of them.

    Raises:
        SuiteError: a metric that scores no dataset's endpoint, or a dataset whose endpoint no metric scores.
    """
    if "metrics" not in suite.model_fields_set:
        return tuple(dict.fromkeys(kind.primary_metric for kind in kinds.values()))
    takes = {name: registry.metric(name).tasks for name in suite.metrics}
    tasks = {kind.name for kind in kinds.values()}
    problems = [
        f"metric {name!r} scores {' and '.join(of)} endpoints, and no dataset of the suite has one "
        f"({', '.join(sorted(tasks))}): leave it out"
        for name, of in takes.items()
        if not tasks & {*of} and not suite.narrowed
    ]
    problems += [
        f"no metric of the suite scores the {kind.name} endpoint of {dataset}: add {kind.primary_metric!r}"
        for dataset, kind in kinds.items()
        if not any(kind.name in of for of in takes.values())
    ]
    if problems:
        raise SuiteError(problem_text(f"suite {suite.name!r}", problems))
    return tuple(name for name, of in takes.items() if tasks & {*of})


def _ref_problems(registry: Registry, kind: str, refs: Sequence[PluginRef]) -> list[str]:
    problems = []
    for ref in refs:
        try:
            validate_options(registry, kind, ref)
        except FusionBenchError as error:
            problems.append(str(error))
    return problems
