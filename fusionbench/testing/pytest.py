"""The conformance checks of a plugin as the parameters of a pytest test."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fusionbench.core.registry import Registry, discover
from fusionbench.testing.conformance import Check, ExpectedFailure, Skipped, checks_for

if TYPE_CHECKING:
    import pytest


def parametrize(plugin: str, matching: str = "", *, registry: Registry | None = None) -> pytest.MarkDecorator:
    """Run a test once for each check of a plugin, by the argument `check`.

    ```python
    @parametrize("my-plugin")
    def test_conforms(check):
        check()
    ```

    A promise that is not kept is an AssertionError; what a check cannot say of a plugin is a skip with its reason, and
    what the plugin declares in `expected_failures` is an expected failure (xfail).

    Args:
        plugin: its name as in `fusionbench plugins`.
        matching: a part of `kind:subject:check`.
        registry: what is installed, unless given.

    Raises:
        SuiteError, PluginError: as `checks_for`; the test module then fails to be collected, with that message.
    """
    import pytest

    checks = checks_for(plugin, registry or discover(), matching)
    return pytest.mark.parametrize("check", [pytest.param(_as_test(check), id=check.id) for check in checks])


def _as_test(check: Check) -> Callable[[], Any]:
    import pytest

    def run() -> None:
        try:
            check()
        except ExpectedFailure as expected:
            pytest.xfail(str(expected))
        except Skipped as skipped:
            pytest.skip(str(skipped))

    return run
