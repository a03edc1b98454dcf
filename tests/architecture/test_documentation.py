"""Every public name is documented, and docs/api.md lists what a plugin may import."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.api_docs import MODULES, TO, page, public_names
from tests.architecture.test_imports import FOR_PLUGINS


def modules(name: str) -> Iterator[ModuleType]:
    """A module and everything below it."""
    module = import_module(name)
    yield module
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if found.name not in ("templates", "__main__"):
            yield from modules(f"{name}.{found.name}")


def undocumented(module: ModuleType) -> Iterator[str]:
    """Public functions, classes, methods and properties of a module without a docstring, also an inherited one."""
    if not module.__doc__:
        yield module.__name__
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and not thing.__doc__:
            yield f"{module.__name__}.{name}"
        if inspect.isclass(thing):
            yield from (f"{module.__name__}.{name}.{m}" for m in vars(thing) if _bare(thing, m))


def _bare(owner: type, name: str) -> bool:
    """Whether a public method or property has no docstring, here or in a class that it comes from."""
    value: Any = vars(owner)[name]
    function = value.fget if isinstance(value, property) else getattr(value, "__func__", getattr(value, "func", value))
    if name.startswith("_") or not inspect.isfunction(function):
        return False
    inherited = (vars(base).get(name) for base in owner.__mro__)
    return not any(getattr(of, "__doc__", None) for of in inherited if of is not None)


def test_the_walk_sees_what_is_undocumented() -> None:
    """The test below says nothing if the walk is blind."""
    module = ModuleType("invented", "A docstring.")
    source = "class A:\n    'Yes.'\n    def b(self): ...\n    @property\n    def c(self): ...\ndef d(): ...\n"
    exec(compile(source, "invented", "exec"), vars(module))
    assert sorted(undocumented(module)) == ["invented.A.b", "invented.A.c", "invented.d"]


def test_everything_public_is_documented() -> None:
    assert [name for module in modules("fusionbench") for name in undocumented(module)] == []


def test_docs_api_is_up_to_date() -> None:
    assert TO.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.api_docs"


def test_docs_api_lists_every_public_module() -> None:
    assert set(MODULES) == FOR_PLUGINS


def test_every_public_name_says_what_it_is() -> None:
    """A name that a plugin may import has a docstring; a type alias has none to give."""
    for name in MODULES:
        module = import_module(name)
        things = [(n, getattr(module, n)) for n in public_names(module)]
        assert [n for n, of in things if (inspect.isclass(of) or inspect.isfunction(of)) and not of.__doc__] == []


def test_every_test_that_the_table_of_situations_names_is_there() -> None:
    tests = Path(__file__).parents[1]
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (tests.parent / "docs/reliability.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    gone = [f"{file}::{name}" for file, name in named if name not in functions_of(tests / file)]
    assert gone == []


def functions_of(path: Path) -> set[str]:
    """The names of a file's functions, methods among them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
