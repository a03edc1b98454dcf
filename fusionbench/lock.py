"""suite.lock.toml: what a suite was when it ran. Always of the whole suite, also where a run was narrowed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tomli_w

import fusionbench
from fusionbench import environment, suites
from fusionbench.cells import ORACLE, RESULTS_VERSION, Plan, canonical
from fusionbench.registry import Registry
from fusionbench.splits import fold_hash

if TYPE_CHECKING:
    from fusionbench.cohort import Cohort


def make_lock(plan: Plan, registry: Registry, cohorts: Mapping[str, Cohort]) -> dict[str, Any]:
    """The resolved suite, split hashes, horizons, data checksums, plugin and package versions."""
    return {
        "fusionbench": fusionbench.__version__,
        "results_version": RESULTS_VERSION,
        "suite": _plain(plan.suite.model_dump(mode="json")) | _refs(plan),
        "cells": {
            "listed": len(plan.listed),
            "skipped": sum(bool(c.skip) for c in plan.listed),
            "keys_sha256": hashlib.sha256(canonical(sorted(c.key for c in plan.todo())).encode()).hexdigest(),
        },
        "datasets": {name: _dataset(plan, registry, name, cohort) for name, cohort in cohorts.items()},
        "plugins": {p.name: f"{p.distribution} {p.version}" for p in registry.plugins if p.status == "ok"},
        "models": {m.name: registry.model(m.name).version for m in plan.suite.models},
        "options": {
            str(ref): _plain(suites.options(registry, "models", ref).model_dump(mode="json"))
            for ref in dict.fromkeys(c.model for c in plan.cells if c.model.name != ORACLE)
        },
        "packages": environment.packages(),
    }


def _refs(plan: Plan) -> dict[str, Any]:
    return {"datasets": [str(d) for d in plan.suite.datasets], "models": [str(m) for m in plan.suite.models]}


def _dataset(plan: Plan, registry: Registry, name: str, cohort: Cohort) -> dict[str, Any]:
    cells = [c for c in plan.listed if str(c.dataset) == name]
    folds = {f"{c.variant}/{c.repeat}/{c.fold}": fold_hash(c.split) for c in cells}
    return {
        "version": registry.dataset(cells[0].dataset.name).version,
        "fingerprint": cohort.fingerprint,
        "cases": len(cohort.cases),
        "checksums": dict(cohort.info.checksums),
        "tau_months": {c.variant: c.tau for c in cells},
        "splits": folds,
    }


def _plain(value: Any) -> Any:
    """TOML has no null: keys without a value are left out."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def dumps(lock: Mapping[str, Any]) -> str:
    return tomli_w.dumps(lock)
