"""What plugin authors test with: conformance checks and toy cohorts.

Names are loaded when first used; `parametrize` alone needs pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fusionbench.testing.conformance import Check, Failure, Report, Skipped, check_plugin, checks_for
    from fusionbench.testing.pytest import parametrize

__all__ = ["Check", "Failure", "Report", "Skipped", "check_plugin", "checks_for", "parametrize"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'fusionbench.testing' has no attribute {name!r}")
    home = "pytest" if name == "parametrize" else "conformance"
    return getattr(import_module(f"fusionbench.testing.{home}"), name)
