"""Every public name is documented; the generated pages are current; the documentation site is whole."""

from __future__ import annotations

import ast
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
import typing
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import BaseModel

from fusionbench.suites.suite import Suite
from tests import key_docs
from tests.api_docs import COMMANDS, MODULES, TO, commands_page, page, public_names
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


def test_the_page_of_commands_is_as_the_command_line() -> None:
    assert COMMANDS.read_text(encoding="utf-8") == commands_page(), "write it anew: python -m tests.api_docs"


def test_the_documentation_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """`strict: true` in mkdocs.yml: a dead link, an unknown anchor or a page outside the navigation ends the build."""
    root = TO.parents[1]
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(root / "mkdocs.yml")]
    built = subprocess.run([*command, "--site-dir", str(tmp_path)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    assert (tmp_path / "tour.html").is_file()
    outside = [
        (page.name, found)
        for page in tmp_path.glob("*.html")
        for found in re.findall(r'(?:src|<link[^>]*href)="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
    ]
    assert not outside, "pages load nothing from other hosts"


def test_docs_keys_is_up_to_date() -> None:
    assert key_docs.TO.read_text(encoding="utf-8") == key_docs.page(), "write it anew: python -m tests.key_docs"


@pytest.mark.parametrize("part", [*key_docs.COHORT, *key_docs.SUITE], ids=lambda part: part[1].__name__)
def test_every_key_is_described_and_stands_in_an_example_that_is_valid(part: tuple[Any, ...]) -> None:
    _, schema, written = part
    shown: set[str] = set()
    for example in key_docs.examples(schema, written):
        content = tomllib.loads(example)
        shown |= set(content)
        schema.model_validate(content | ({"name": "example"} if schema is Suite else {}))
    assert shown == set(key_docs.keys(schema)) <= set(key_docs.said(schema))


def test_the_page_has_a_row_for_every_key_of_every_table() -> None:
    """Also of a table that somebody adds and forgets here."""
    listed = {schema for _, schema, _ in (*key_docs.COHORT, *key_docs.SUITE)}
    below = {
        model for schema in listed for field in schema.model_fields.values() for model in models_in(field.annotation)
    }
    assert below <= listed


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The schemas that a type is made of."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


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
