"""A suite's lock against what is installed: what would make results differ from those that it describes."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fusionbench.core import environment
from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.registry import Registry
from fusionbench.suites.cell import RESULTS_VERSION
from fusionbench.suites.lock import LOCK, read_lock
from fusionbench.suites.suite import suite_name
from fusionbench.tools.doctor.words import Line

RUN = "run.toml"


def against_lock(suite: str, out: Path, registry: Registry) -> Iterator[Line]:
    """One line a version: problem = other results by declaration, note = perhaps other last digits.

    Raises:
        SuiteError: no such suite. ResultsError: it has no lock, or a damaged one.
    """
    name = suite_name(registry, suite)
    folder = out / name
    if not (folder / LOCK).is_file():
        registry.suite(name)  # an unknown name gets its own message
        raise ResultsError(
            f"{name}: nothing has been run under {out}, so there is nothing to compare with; published runs: "
            f"fusionbench doctor {name} --out results/published"
        )
    lock = read_lock(folder)
    yield _keyed("RESULTS_VERSION", lock.get("results_version"), RESULTS_VERSION)
    for dataset, about in lock["datasets"].items():
        yield _keyed(f"dataset {dataset}", about.get("version"), _version(registry, "datasets", dataset.split("[")[0]))
    for model, version in _section(lock, "models").items():
        yield _keyed(f"model {model}", version, _version(registry, "models", model))
    here = environment.packages()
    for package, version in _section(lock, "packages").items():
        yield _recorded(package, version, here.get(package, "not looked at"))
    yield from _machine(folder)


def _section(lock: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = lock.get(name)
    return found if isinstance(found, Mapping) else {}


def _version(registry: Registry, kind: str, name: str) -> str:
    try:
        return str(registry.get(kind, name).version)
    except SuiteError:
        return "not installed"


def _keyed(what: str, then: object, now: object) -> Line:
    """What is part of a cell's key."""
    if then == now:
        return Line("ok", what, f"{now}, as in the lock")
    return Line("problem", what, f"{then} in the lock, {now} here: its cells are stale and would be computed anew")


def _recorded(what: str, then: object, now: object) -> Line:
    """What is recorded and not part of a key."""
    if then == now:
        return Line("ok", what, f"{now}, as in the lock")
    return Line("note", what, f"{then} in the lock, {now} here: last digits may differ")


def _machine(folder: Path) -> Iterator[Line]:
    """Where it was run, of a published run."""
    if not (folder / RUN).is_file():
        return
    try:
        run = tomllib.loads((folder / RUN).read_text(encoding="utf-8"))
        then = run["environment"][0]
        device, python = str(then["device"]), str(then["machine"]["python"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ResultsError(f"{folder / RUN}: cannot be read ({type(error).__name__}: {error})") from error
    yield Line("ok" if device == "cpu" else "note", "device", f"{device} when it was run")
    yield _recorded("python", python, platform.python_version())
