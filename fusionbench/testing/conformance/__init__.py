"""Checks that every plugin has to pass; `fusionbench check` and `fusionbench.testing.parametrize` run them."""

from __future__ import annotations

from fusionbench.testing.conformance.check import Check, CheckOutcome, ExpectedFailure, Failure, Promise, Skipped
from fusionbench.testing.conformance.runner import (
    PROMISES,
    CheckResult,
    Report,
    check_plugin,
    checks_for,
    plugin_record,
    run_check,
)

__all__ = [
    "PROMISES",
    "Check",
    "CheckOutcome",
    "CheckResult",
    "ExpectedFailure",
    "Failure",
    "Promise",
    "Report",
    "Skipped",
    "check_plugin",
    "checks_for",
    "plugin_record",
    "run_check",
]
