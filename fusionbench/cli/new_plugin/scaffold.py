"""A plugin of one's own to begin with: a working package of one kind, written from the templates under a new name.

`templates/` holds the package of each kind under the name `my-plugin`, and what all kinds share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

from fusionbench.core.commands import OWN_COMMANDS
from fusionbench.core.errors import SuiteError
from fusionbench.core.registry import discover

BRINGS: Mapping[str, tuple[str, ...]] = {
    "model": ("models", "suites"),
    "own-loop": ("models",),
    "auxiliary-loss": ("models",),
    "dataset": ("datasets", "suites"),
    "modality": ("modalities", "datasets", "suites"),
    "metric": ("metrics", "suites"),
    "encoder": ("encoders",),
    "executor": ("executors",),
    "command": ("commands",),
}
"""Kind of plugin to what its template provides, each under the plugin's name."""

NAME, PACKAGE = "my-plugin", "fusionbench_my_plugin"
SHARED = ("pyproject.toml", "tests/test_conformance.py")
LONGEST = 40
_VALID = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True)
class Scaffold:
    """A package that was written.

    Attributes:
        folder: of the package, `name` under the folder asked for.
        paths: the files in it.
        run: the arguments of `fusionbench` by which it takes part: in a suite, or on slides.
    """

    folder: Path
    paths: tuple[Path, ...]
    run: tuple[str, ...]


def new_plugin(name: str, kind: str, into: Path) -> Scaffold:
    """Write a package called `name` with a working example of `kind` (a key of `BRINGS`) into a folder of that name.

    Raises:
        SuiteError: the name is none or taken; the folder has something in it or cannot be written.
    """
    check_name(name)
    _check_free(name, kind)
    folder = into / name
    texts = {folder / path: text for path, text in render(name, kind).items()}
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise SuiteError(f"{folder}: has something in it; choose another name, or another place with --into")
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SuiteError(f"{folder}: cannot be written ({error.strerror}); choose another place with --into") from error
    return Scaffold(folder, tuple(texts), _first_use(name, kind))


def _first_use(name: str, kind: str) -> tuple[str, ...]:
    match kind:
        case "encoder":
            return ("slides", "SLIDES", "--out", "FEATURES", "--encoder", name)
        case "executor":
            return ("run", "quickstart", "--executor", name)
        case "command":
            return (name, "quickstart")
    return ("run", "quickstart", "-m", f"{name}[]") if "models" in BRINGS[kind] else ("run", name)


def check_name(name: str) -> None:
    """A name that reads the same in a suite, on a command line and as a folder.

    Raises:
        SuiteError: it does not.
    """
    if _VALID.fullmatch(name) is None or len(name) > LONGEST:
        raise SuiteError(
            f"{name!r} cannot be a plugin's name: write at most {LONGEST} small letters and digits, a letter first, "
            "with single dashes or underscores between them (my-plugin)"
        )


def package_of(name: str) -> str:
    """The Python package of a plugin; the prefix keeps it apart from whatever else is installed."""
    return f"fusionbench_{name.replace('-', '_')}"


def render(name: str, kind: str) -> dict[str, str]:
    """Path in the package to text, for every file of the templates."""
    home = files(__package__) / "templates"
    found = {path: home / path for path in SHARED} | dict(_files(home / kind))
    return {_renamed(path, name): _renamed(file.read_text("utf-8"), name) for path, file in sorted(found.items())}


def _files(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    for item in folder.iterdir():
        if item.is_file():
            yield f"{above}{item.name}", item
        elif item.name != "__pycache__":  # installers compile what they install
            yield from _files(item, f"{above}{item.name}/")


def _renamed(text: str, name: str) -> str:
    return text.replace(PACKAGE, package_of(name)).replace(NAME, name)


def _check_free(name: str, kind: str) -> None:
    registry = discover(BRINGS[kind])
    if kind == "command" and name in OWN_COMMANDS:
        raise SuiteError(f"{name!r} is taken: it is fusionbench's own command; choose another name")
    for what in BRINGS[kind]:
        if name in registry.names(what):
            _, owner = registry.found[what][name]
            raise SuiteError(f"{name!r} is taken: plugin {owner!r} has it among its {what}; choose another name")
    for plugin in registry.plugins:
        if plugin.name == name:
            raise SuiteError(f"{name!r} is taken by a plugin of {plugin.distribution}; choose another name")
    if find_spec(package_of(name)) is not None:
        raise SuiteError(f"{name!r} is taken: a package {package_of(name)} is installed; choose another name")
