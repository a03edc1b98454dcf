"""The floors of the house: a module imports its own floor or a lower one, and plugins what a stranger may import."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, PLUGINS = ROOT / "fusionbench", ROOT / "plugins"
TEMPLATES = CORE / "_templates"

FLOORS = {
    # 0: words
    "fusionbench": 0,
    "fusionbench.errors": 0,
    "fusionbench.hookspecs": 0,
    "fusionbench.interfaces": 0,
    "fusionbench.protocol": 0,
    "fusionbench.results": 0,
    "fusionbench.pluginref": 0,
    "fusionbench.search": 0,
    "fusionbench.types": 0,
    # 1: pure tools
    "fusionbench.adam": 1,
    "fusionbench.advice": 1,
    "fusionbench.bags": 1,
    "fusionbench.cacheentry": 1,
    "fusionbench.clock": 1,
    "fusionbench.garbage": 1,
    "fusionbench.download": 1,
    "fusionbench.dropout": 1,
    "fusionbench.environment": 1,
    "fusionbench.featurecache": 1,
    "fusionbench.meter": 1,
    "fusionbench.feed": 1,
    "fusionbench.filenames": 1,
    "fusionbench.missing": 1,
    "fusionbench.nn": 1,
    "fusionbench.seeds": 1,
    "fusionbench.slideimages": 1,
    "fusionbench.splits": 1,
    "fusionbench.statistics": 1,
    "fusionbench.survival": 1,
    "fusionbench.transfer": 1,
    # 2: what is there
    "fusionbench.arrangement": 2,
    "fusionbench.cohort": 2,
    "fusionbench.datahome": 2,
    "fusionbench.cells": 2,
    "fusionbench.inspection": 2,
    "fusionbench.encoders": 2,
    "fusionbench.threads": 3,
    "fusionbench.plan": 2,
    "fusionbench.references": 2,
    "fusionbench.registry": 2,
    "fusionbench.slidefiles": 2,
    "fusionbench.stacks": 2,
    "fusionbench.suites": 2,
    "fusionbench.tuned": 2,
    # 3: the work
    "fusionbench.evaluate": 3,
    "fusionbench.executors": 3,
    "fusionbench.determinism": 1,
    "fusionbench.faults": 3,
    "fusionbench.fitting": 3,
    "fusionbench.objective": 3,
    "fusionbench.optimizing": 3,
    "fusionbench.compiling": 3,
    "fusionbench.predictor": 3,
    "fusionbench.preprocess": 3,
    "fusionbench.runner": 3,
    "fusionbench.stacked": 3,
    "fusionbench.training": 3,
    "fusionbench.waiting": 3,
    "fusionbench.work": 3,
    "fusionbench.workbench": 3,
    # 4: edges
    "fusionbench.__main__": 4,
    "fusionbench.attempts": 4,
    "fusionbench.audit": 4,
    "fusionbench.cli": 4,
    "fusionbench.collecting": 4,
    "fusionbench.explain": 4,
    "fusionbench.doctor": 4,
    "fusionbench.damage": 4,
    "fusionbench.driving": 4,
    "fusionbench.holding": 4,
    "fusionbench.imports": 4,
    "fusionbench.lock": 4,
    "fusionbench.predicting": 4,
    "fusionbench.profiling": 4,
    "fusionbench.publish": 4,
    "fusionbench.report": 4,
    "fusionbench.running": 4,
    "fusionbench.scaffold": 4,
    "fusionbench.session": 4,
    "fusionbench.rescoring": 4,
    "fusionbench.selection": 4,
    "fusionbench.standing": 4,
    "fusionbench.cellfiles": 4,
    "fusionbench.store": 4,
    "fusionbench.tracking": 4,
    "fusionbench.tuning": 4,
    "fusionbench.views": 4,
}
"""Each module, or the package it lies in, and its floor."""

BESIDE = {
    # Built-ins are plugins that ship with the core; they may use its pure tools.
    "fusionbench.builtin": 1,
    # Conformance checks run what they check; nothing runs them but tests and the verb for them.
    "fusionbench.testing": 4,
}
"""Beside the floors: the highest floor each may import. No floor imports them."""

HANDED_OUT = {
    ("fusionbench.builtin", "fusionbench.executors.ray"),
    ("fusionbench.builtin", "fusionbench.executors.serial"),
    ("fusionbench.cli.check", "fusionbench.testing.conformance"),
}
"""What a built-in hook hands out although it lies on a higher floor, and the one verb that hands out the checks."""

FOR_PLUGINS = {
    *("fusionbench", "fusionbench.encoders", "fusionbench.nn", "fusionbench.slideimages", "fusionbench.survival"),
    *("fusionbench.testing", "fusionbench.testing.official"),
}


@cache
def module_of(path: Path) -> str:
    base = CORE.parent if path.is_relative_to(CORE) else PLUGINS
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


MODULES = {module_of(path): path for path in files(CORE) if not path.is_relative_to(TEMPLATES)}
PACKAGES = sorted(path.name for path in PLUGINS.iterdir() if (path / "__init__.py").is_file())
STRANGERS = [*(PLUGINS / name for name in PACKAGES), *sorted(path for path in TEMPLATES.iterdir() if path.is_dir())]
"""Code that imports what a stranger may import: the plugins, and what strangers begin with."""


def imports(path: Path) -> Iterator[tuple[int, str, str]]:
    """(line, module, imported name or "") of every import, also inside functions and for type checkers only."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; name the module in full"
            yield from ((node.lineno, str(node.module), alias.name) for alias in node.names)


def core_imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module of fusionbench); `from fusionbench import suites` is an import of fusionbench.suites."""
    for line, module, name in imports(path):
        if module.split(".")[0] == "fusionbench":
            submodule = f"{module}.{name}"
            yield line, submodule if submodule in MODULES else module


def home(module: str, places: dict[str, int]) -> str | None:
    """The entry of `places` that a module falls under; `fusionbench` itself stands for the bare package only."""
    parents = [module, *(module.rsplit(".", n)[0] for n in range(1, module.count(".")))]
    return next((p for p in parents if p in places), None)


def test_every_module_has_a_floor() -> None:
    homeless = [m for m in MODULES if home(m, FLOORS | BESIDE) is None]
    assert not homeless, f"give {homeless} a floor in this table and in the design"


def test_the_table_names_no_module_that_is_gone() -> None:
    expected_later = {"fusionbench.__main__"}
    gone = [m for m in FLOORS | BESIDE if m not in MODULES and m not in expected_later]
    assert not gone


def may_import(module: str, imported: str) -> bool:
    if (module, imported) in HANDED_OUT:
        return True
    beside, place = home(module, BESIDE), home(imported, FLOORS)
    if home(imported, BESIDE) is not None:
        return beside in (home(imported, BESIDE), "fusionbench.testing")
    if place is None:
        return False
    own = home(module, FLOORS)
    highest = BESIDE[beside] if beside is not None else FLOORS[own] if own is not None else -1
    return FLOORS[place] <= highest


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_its_own_floor_or_a_lower_one(module: str) -> None:
    path = MODULES[module]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {imported}"
        for line, imported in core_imports(path)
        if not may_import(module, imported)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("module", "imported", "allowed"),
    [
        ("fusionbench.plan", "fusionbench.suites", True),
        ("fusionbench.plan", "fusionbench.store", False),
        ("fusionbench.types", "fusionbench.seeds", False),
        ("fusionbench.report.words", "fusionbench.report.render", True),
        ("fusionbench.session", "fusionbench.builtin.metrics", False),
        ("fusionbench.builtin.vector", "fusionbench.types", True),
        ("fusionbench.builtin.vector", "fusionbench.runner", False),
        ("fusionbench.testing.toys", "fusionbench.builtin.vector", True),
        ("fusionbench.cli.check", "fusionbench.testing.conformance", True),
        ("fusionbench.cli.run", "fusionbench.testing.conformance", False),
        ("fusionbench.plan", "fusionbench.gone", False),
    ],
)
def test_the_rule_itself(module: str, imported: str, allowed: bool) -> None:
    assert may_import(module, imported) == allowed


def test_the_walk_sees_imports_of_all_kinds(tmp_path: Path) -> None:
    """The tests above say nothing if the walk is blind."""
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "import fusionbench.session\n"
        "if TYPE_CHECKING:\n    from fusionbench.plan import Cell\n"
        "def late():\n    from fusionbench import suites, hookimpl\n"
    )
    assert list(core_imports(path)) == [
        (2, "fusionbench.session"),
        (4, "fusionbench.plan"),
        (6, "fusionbench.suites"),
        (6, "fusionbench"),
    ]


def test_no_file_of_the_core_names_a_plugin_package() -> None:
    assert len(PACKAGES) > 3, "the packages of plugins/ were not found"
    named = [
        f"{path.relative_to(ROOT)} names {package}"
        for path in CORE.rglob("*")
        if path.is_file() and path.suffix not in {".pyc", ".png"} and ".ruff_cache" not in path.parts
        for package in PACKAGES
        if package in path.read_text(encoding="utf-8")
    ]
    assert not named


@pytest.mark.parametrize("folder", STRANGERS, ids=lambda path: path.name)
def test_a_plugin_imports_what_a_stranger_may_import(folder: Path) -> None:
    wrong = []
    for path in files(folder):
        for line, module, name in imports(path):
            top = module.split(".")[0]
            if top == "fusionbench":
                fine = module in FOR_PLUGINS and f"{module}.{name}" not in set(MODULES) - FOR_PLUGINS
            elif top in PACKAGES and top != folder.name:
                fine = module == top
            else:
                fine = True
            if not fine:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module} {name}".rstrip())
    assert not wrong


@pytest.mark.parametrize("folder", STRANGERS, ids=lambda path: path.name)
def test_a_plugin_takes_public_names_of_the_package_root_only(folder: Path) -> None:
    public = set(import_module("fusionbench").__all__)
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files(folder)
        for line, module, name in imports(path)
        if module == "fusionbench" and name and f"fusionbench.{name}" not in MODULES and name not in public
    ]
    assert not wrong


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


HEAVY = {"torch", "mlflow", "pandas", "sklearn", "sksurv", "scipy", "matplotlib", "pyarrow"}


def test_importing_fusionbench_loads_nothing_heavy() -> None:
    assert not loaded_by("import fusionbench") & HEAVY


def test_importing_the_plugin_packages_loads_nothing_heavy() -> None:
    assert not loaded_by(f"import {', '.join(PACKAGES)}") & HEAVY


def test_listing_suites_loads_no_torch() -> None:
    statement = "from fusionbench.registry import discover\ndiscover(('suites',)).names('suites')"
    assert not loaded_by(statement) & HEAVY


def test_planning_loads_nothing_heavy() -> None:
    """Asking every model what it takes; of a command that only plans, torch would be most of the time."""
    statement = (
        "from fusionbench.cli.common import open_bench\nfrom fusionbench import suites\n"
        "from fusionbench.plan import expand\nbench = open_bench()\n"
        "assert all(p.status == 'ok' for p in bench.registry.plugins), bench.registry.plugins\n"
        "suite = suites.narrow(suites.load(bench.registry, 'quickstart'), datasets=['synthetic'])\n"
        "assert expand(suite, bench.registry, bench.cohort).todo()"
    )
    assert not loaded_by(statement) & HEAVY


def test_all_names_what_is_there() -> None:
    package = import_module("fusionbench")
    assert [n for n in package.__all__ if not hasattr(package, n)] == []
