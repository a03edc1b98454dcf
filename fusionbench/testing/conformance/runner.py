"""All checks of a plugin, by the name that `fusionbench plugins` shows, and their report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fusionbench.core.class_files import in_file
from fusionbench.core.errors import PluginError, SuiteError, did_you_mean
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import PluginRecord, Registry, discover, file_record
from fusionbench.testing.conformance import (
    commands,
    datasets,
    encoders,
    executors,
    findings,
    metrics,
    modalities,
    models,
    suites,
)
from fusionbench.testing.conformance.check import Check, CheckOutcome, Promise, Status, with_expected

MAKERS: Mapping[str, Callable[[str, Registry], list[Check]]] = {
    "models": models.checks,
    "datasets": datasets.checks,
    "modalities": modalities.checks,
    "metrics": metrics.checks,
    "suites": suites.checks,
    "executors": executors.checks,
    "encoders": encoders.checks,
    "commands": commands.checks,
    "findings": findings.checks,
}
PROMISES: Mapping[str, tuple[Promise[Any], ...]] = {
    "model": models.PROMISES,
    "dataset": datasets.PROMISES,
    "modality": modalities.PROMISES,
    "metric": metrics.PROMISES,
    "suite": suites.PROMISES,
    "executor": executors.PROMISES,
    "encoder": encoders.PROMISES,
    "command": commands.PROMISES,
    "findings function": findings.PROMISES,
}
"""Kind of thing to the checks of it."""


@dataclass(frozen=True)
class CheckResult:
    """One line of a report.

    Attributes:
        reason: why it was skipped, or why the plugin expects it to fail.
        blocked: it was skipped because a check that it needs failed, among these rows or not.
        excused: that check was expected to fail.
        seen, expected, cause: the three sentences of a failure; empty otherwise.
    """

    kind: str
    subject: str
    check: str
    promise: str
    status: Status
    reason: str
    blocked: bool
    excused: bool
    seen: str
    expected: str
    cause: str
    seconds: float


@dataclass(frozen=True)
class Report:
    """What the checks of a plugin came to."""

    plugin: str
    rows: tuple[CheckResult, ...]

    def count(self, status: Status) -> int:
        """How many checks ended with `status`."""
        return sum(row.status == status for row in self.rows)

    @property
    def ok(self) -> bool:
        """Nothing failed unexpectedly, also not what was only asked for by another check."""
        return not any(row.status == "FAIL" or (row.blocked and not row.excused) for row in self.rows)

    @property
    def seconds(self) -> float:
        """The time of all checks together."""
        return sum(row.seconds for row in self.rows)


def checks_for(plugin: str, registry: Registry, matching: str = "") -> list[Check]:
    """The checks of everything that a plugin provides, or of one model.

    Args:
        plugin: its name as in `fusionbench plugins`, or the path of a Python file with classes; or a model, installed
            or a class of a file, `NAME[option=value]` or `FILE.py:CLASS`, whose options then hold in every check.
        matching: a part of `kind:subject:check`, in either case.

    Raises:
        SuiteError: no plugin or model has this name, an option is wrong, or no check matches.
        PluginError: the plugin could not be loaded, and why; or it expects a failure of no check that there is.
    """
    made = _of_model(PluginRef.parse(plugin), registry) if _is_model(plugin) else _of_plugin(plugin, registry)
    chosen = [check for check in made if matching.lower() in check.id.lower()]
    if not chosen:
        raise SuiteError(f"no check of {plugin!r} matches {matching!r}; the first is called {made[0].id!r}")
    return chosen


def _is_model(text: str) -> bool:
    """Whether one model is meant: brackets, also empty ones, or a class of a file."""
    return "[" in text or in_file(text)


def _of_model(ref: PluginRef, registry: Registry) -> list[Check]:
    validate_options(registry, "models", ref)
    return [*with_expected(models.checks(str(ref), registry), registry.model(ref.name))]


def _of_plugin(plugin: str, registry: Registry) -> list[Check]:
    record = plugin_record(plugin, registry)
    if record is None:
        raise SuiteError(did_you_mean("plugin", plugin, (p.name for p in registry.plugins)))
    if record.status == "broken" and not record.provides:
        raise PluginError(f"plugin {plugin!r} could not be loaded: {record.reason}")
    things = [(kind, name) for kind, names in record.provides.items() for name in names]
    if not things:
        raise PluginError(f"plugin {plugin!r} provides nothing: none of its hooks returned anything")
    made = [with_expected(MAKERS[kind](name, registry), registry.get(kind, name)) for kind, name in things]
    return [check for of_thing in made for check in of_thing]


def plugin_record(plugin: str, registry: Registry) -> PluginRecord | None:
    """A plugin by its name, a file with classes by its path, or that of one model."""
    if _is_model(plugin):
        return registry.owner("models", PluginRef.parse(plugin).name)
    if plugin.endswith(".py"):
        return file_record(plugin)
    return next((p for p in registry.plugins if p.name == plugin), None)


def check_plugin(plugin: str, registry: Registry | None = None) -> Report:
    """Run the checks of everything that a plugin provides.

    Raises:
        SuiteError, PluginError: as `checks_for`.
    """
    return Report(plugin, tuple(run_check(check) for check in checks_for(plugin, registry or discover())))


def run_check(check: Check) -> CheckResult:
    """Run a check, and put down what came of it."""
    outcome: CheckOutcome = check.outcome()
    found = outcome.failure
    return CheckResult(
        kind=check.kind,
        subject=check.subject,
        check=check.name,
        promise=check.promise,
        status=outcome.status,
        reason=outcome.reason,
        blocked=outcome.blocked,
        excused=outcome.excused,
        seen=found.seen if found else "",
        expected=found.expected if found else "",
        cause=found.cause if found else "",
        seconds=round(outcome.seconds, 3),
    )
