"""Checks that every plugin has to pass; `fusionbench check` and `fusionbench.testing.parametrize` run them."""

from __future__ import annotations

from fusionbench.testing.conformance.check import Check, Failure, Outcome, Promise, Skipped
from fusionbench.testing.conformance.runner import PROMISES, Report, Row, check_plugin, checks_for, row_of

__all__ = [
    "PROMISES",
    "Check",
    "Failure",
    "Outcome",
    "Promise",
    "Report",
    "Row",
    "Skipped",
    "check_plugin",
    "checks_for",
    "row_of",
]
