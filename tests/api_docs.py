"""docs/api.md (what a plugin may import) and docs/commands.md; `python -m tests.api_docs` writes them anew."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
TO = DOCS / "api.md"
COMMANDS = DOCS / "commands.md"
MODULES = {
    "fusionbench": "Values, interfaces, hooks and errors.",
    "fusionbench.nn": "Building blocks of torch models; `TorchModel` ties a module to the training loop.",
    "fusionbench.survival": "Losses, time bins and survival curves.",
    "fusionbench.tasks.ranking": "Pairs of cases that a ranking has to get right.",
    "fusionbench.data.downloads": "Where a cohort's files lie, and how they get there: downloaded and checked.",
    "fusionbench.data.feature_files": "Files of patch features, and the folders they lie in.",
    "fusionbench.data.group_files": "Groups of columns from a file of gene names.",
    "fusionbench.data.published_files": "Files that a plugin lists with their checksums.",
    "fusionbench.data.split_files": "Files of published splits.",
    "fusionbench.data.slides": "Whole-slide images.",
    "fusionbench.session": "The commands as methods, for scripts, notebooks and commands of plugins.",
    "fusionbench.report.api": "What sections below a table are made of and with (hook `fusionbench_findings`).",
    "fusionbench.testing": "Checks and toy cohorts for the tests of a plugin.",
}
"""Public module to what is in it."""
HEAD = """# What a plugin may import

`python -m tests.api_docs` writes this page from the docstrings. What is not listed here is private and may change
without notice. `help(fusionbench.FusionModel)` and its like show each docstring whole, with shapes, units and errors.
"""


def public_names(module: ModuleType) -> list[str]:
    """The names that a module offers: its `__all__`, else what it imports for type checkers or defines itself."""
    if hasattr(module, "__all__"):
        return sorted(name for name in module.__all__ if not name.startswith("_"))
    tree = ast.parse(inspect.getsource(module))
    lazily = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name  # `import X as X`: offered to others
    }
    defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    return sorted(name for name in {*lazily, *defined} if name and not name.startswith("_"))


def summary(thing: Any) -> str:
    """The first paragraph of a docstring on one line; of a value without one, the value's type."""
    text = "" if isinstance(thing, typing._GenericAlias) else inspect.getdoc(thing) or ""  # type: ignore[attr-defined]
    first = text.split("\n\n")[0].replace("\n", " ")
    return re.sub(r"\s+", " ", first).replace("|", "\\|")


def signature(name: str, thing: Any) -> str:
    """The name as it is called; classes of values by their fields, abstract ones by name alone."""
    if inspect.isfunction(thing):
        return f"{name}({', '.join(inspect.signature(thing).parameters)})"
    if dataclasses.is_dataclass(thing):
        return f"{name}({', '.join(field.name for field in dataclasses.fields(thing) if field.init)})"
    return name


def methods(thing: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class defines itself."""
    for name, value in vars(thing).items():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def lines(module_name: str, about: str) -> Iterator[str]:
    """One module's part of the page."""
    module = import_module(module_name)
    yield f"\n## `{module_name}`\n\n{about}\n\n| name | what it is |\n|---|---|"
    for name in public_names(module):
        thing = getattr(module, name)
        yield f"| `{signature(name, thing)}` | {summary(thing)} |"
        if inspect.isclass(thing) and thing.__module__.startswith("fusionbench."):
            for method, function in methods(thing):
                yield f"| &nbsp;&nbsp;`.{method}` | {summary(function)} |"


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(line for name, about in MODULES.items() for line in lines(name, about))]
    return "\n".join(parts).replace("\n\n\n", "\n\n") + "\n"


def commands_page() -> str:
    """Every command with its arguments and options, as typer documents them."""
    made = [sys.executable, "-m", "typer", "fusionbench.cli", "utils", "docs", "--name", "fusionbench"]
    text = subprocess.run([*made, "--title", "Every command"], capture_output=True, text=True, check=True).stdout
    # Usage lines are no commands that a reader could type.
    return text.replace("```console\n$ ", "```text\n").rstrip() + "\n"


if __name__ == "__main__":
    TO.write_text(page(), encoding="utf-8")
    COMMANDS.write_text(commands_page(), encoding="utf-8")
