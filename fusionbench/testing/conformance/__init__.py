"""Checks that every plugin has to pass; `fusionbench check` and `fusionbench.testing.parametrize` run them."""

from __future__ import annotations

from fusionbench.testing.conformance.kit import PROMISES, Report, Row, check_plugin, checks_for, row_of
from fusionbench.testing.conformance.words import Check, Failure, Outcome, Promise, Skipped

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
