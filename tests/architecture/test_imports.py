"""What plugins may import, and what importing the core loads.

The order of the packages is the import contract in pyproject.toml, which `make lint` checks.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, PLUGINS = ROOT / "fusionbench", ROOT / "plugins"
TEMPLATES = CORE / "cli" / "new_plugin" / "templates"

FOR_PLUGINS = {
    *("fusionbench", "fusionbench.nn", "fusionbench.data.downloads", "fusionbench.data.slides", "fusionbench.survival"),
    *("fusionbench.data.feature_files", "fusionbench.data.published_files", "fusionbench.data.split_files"),
    "fusionbench.data.group_files",
    "fusionbench.session",
    "fusionbench.tasks.ranking",
    "fusionbench.report.api",
    "fusionbench.testing",
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


def test_the_core_names_no_paper_whose_numbers_it_shows() -> None:
    """A source of a formula may be cited; what a figure or section shows is not some paper's figure."""
    of_a_paper = re.compile(r"HEALNet paper|paper's (Figure|Table)|\b(Figures?|Tables?) \d")
    found = {path.relative_to(ROOT): of_a_paper.findall(path.read_text(encoding="utf-8")) for path in files(CORE)}
    assert {str(path): names for path, names in found.items() if names} == {}


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
    return set(done.stdout.split())


HEAVY = {"torch", "mlflow", "pandas", "sklearn", "sksurv", "scipy", "matplotlib", "pyarrow"}


def test_importing_fusionbench_loads_nothing_heavy() -> None:
    assert not loaded_by("import fusionbench") & HEAVY


def test_importing_the_plugin_packages_loads_nothing_heavy() -> None:
    assert not loaded_by(f"import {', '.join(PACKAGES)}") & HEAVY


def test_listing_suites_loads_no_torch() -> None:
    statement = "from fusionbench.core.registry import discover\ndiscover(('suites',)).names('suites')"
    assert not loaded_by(statement) & HEAVY


def test_planning_loads_nothing_heavy() -> None:
    """Asking every model what it takes; of a command that only plans, torch would be most of the time."""
    statement = (
        "from pathlib import Path\nfrom fusionbench.cli.options import PLANNED, open_session\n"
        "from fusionbench.suites.selection import Selection\n"
        "session = open_session(Path('results'), kinds=PLANNED)\n"
        "assert all(p.status == 'ok' for p in session.registry.plugins), session.registry.plugins\n"
        "assert session.plan('quickstart', Selection(datasets=('synthetic',))).todo()"
    )
    assert not loaded_by(statement) & HEAVY


def test_the_process_of_check_loads_no_checks() -> None:
    """It starts beside the first checks, and what it loads is what they wait for."""
    loaded = loaded_by("from fusionbench.testing.other_process import serve")
    assert "fusionbench.execution.fit_context" in loaded
    assert not [name for name in loaded if name.startswith("fusionbench.testing.conformance")]


def test_all_names_what_is_there() -> None:
    package = import_module("fusionbench")
    assert [n for n in package.__all__ if not hasattr(package, n)] == []


def test_json_is_printed_by_one_function() -> None:
    """`print_json` alone, so that what is printed is strict JSON everywhere."""
    shown = [path for path in (*files(CORE / "cli"), *files(PLUGINS)) if not path.is_relative_to(TEMPLATES)]
    assert len(shown) > 20
    makers = {"json", "fusionbench.core.json_text"}
    used = {path.name for path in shown for _, module, _ in imports(path) if module in makers}
    assert used == {"options.py"}
    assert not [path for path in shown if ".to_json(" in path.read_text(encoding="utf-8")]
