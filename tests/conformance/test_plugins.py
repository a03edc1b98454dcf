"""Everything that is installed passes the checks that strangers' plugins are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fusionbench.core.registry import discover
from fusionbench.testing import Check, checks_for, parametrize

SLOW = {
    *("best-unimodal", "early-fusion", "gradient-boosting", "healnet", "lmf", "mbt", "mcat", "mifcn", "motcat", "mult"),
    *("clam", "dsmil", "ilra", "multimodn", "pathomic-fusion", "perceiver-io", "porpoise", "survpath", "tfn"),
    "xor-unimodal",
}
"""Models that take more than a few seconds."""
REGISTRY = discover()


def parameters() -> Iterator[Any]:
    for plugin in REGISTRY.plugins:
        if plugin.status == "ok":
            for run in parametrize(plugin.name, registry=REGISTRY).args[1]:
                slow = run.id.startswith("model:") and run.id.split(":")[1] in SLOW
                yield pytest.param(*run.values, id=run.id, marks=[pytest.mark.slow] if slow else [])


def test_no_plugin_is_broken() -> None:
    assert [(p.name, p.reason) for p in REGISTRY.plugins if p.status == "broken"] == []


@pytest.mark.parametrize("check", list(parameters()))
def test_conforms(check: Callable[[], None]) -> None:
    check()


def test_every_installed_thing_is_checked() -> None:
    checks: list[Check] = [c for p in REGISTRY.plugins if p.status == "ok" for c in checks_for(p.name, REGISTRY)]
    checked = {(check.kind, check.subject) for check in checks}
    assert len(checked) == sum(len(things) for things in REGISTRY.found.values())
