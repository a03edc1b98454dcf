"""Models, metrics and other classes in a Python file without a package: `m.py:Net` names the class Net of m.py.

The file is imported as a module of its stem, with its folder on the path, so that it may import files beside it, and so
that other processes find its classes. Its checksum stands in the key of every cell that it computes.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from fusionbench.core.errors import SuiteError, did_you_mean
from fusionbench.core.guard import guarded

FILE_NAME = r"[^\s\[\]:,=]+\.py:[A-Za-z_]\w*"
"""A class of a file, as a reference writes it."""
_PARTS = re.compile(r"(?P<path>.+\.py):(?P<cls>\w+)")


def in_file(name: str) -> bool:
    """Whether a name is that of a class of a file."""
    return _PARTS.fullmatch(name) is not None


def file_of(name: str) -> Path:
    """The absolute path of the file that a name like `m.py:Net` names, seen from the working directory."""
    match = _PARTS.fullmatch(name)
    assert match is not None
    return Path(match["path"]).expanduser().resolve()


def written(name: str) -> str:
    """The name without `./` and repeated separators, so that one class has one name."""
    match = _PARTS.fullmatch(name)
    return name if match is None else f"{Path(match['path']).as_posix()}:{match['cls']}"


def name_of(cls: type) -> str:
    """The name of a class as a reference writes it, its path relative to the working directory where it lies below.

    Raises:
        SuiteError: it is in no file, as one that was written in a notebook.
    """
    try:
        path = Path(inspect.getfile(cls)).resolve()
    except (TypeError, OSError):
        path = Path()
    if path.suffix != ".py" or "." in cls.__qualname__:
        raise SuiteError(
            f"{cls.__qualname__} is no class at the top of a Python file, where other processes find it; write it there"
        )
    here = Path.cwd().resolve()
    return written(f"{path.relative_to(here) if path.is_relative_to(here) else path}:{cls.__name__}")


@dataclass(frozen=True)
class ClassFile:
    """A loaded file.

    Attributes:
        classes: name to each class that is written in it.
        changed_settings: settings of the process that it changed when it was imported; they were put back.
        state: time of its last change and its size, when it was imported.
    """

    path: Path
    classes: dict[str, type]
    changed_settings: tuple[str, ...]
    state: tuple[int, int]


def load_class(name: str, base: type) -> type:
    """The class that a name like `m.py:Net` stands for.

    Args:
        base: what it has to extend.

    Raises:
        SuiteError: no such file or class, the file cannot be imported, or the class is of another kind or abstract.
    """
    match = _PARTS.fullmatch(name)
    assert match is not None
    file = load_file(match["path"])
    fitting = {known: cls for known, cls in file.classes.items() if issubclass(cls, base)}
    if match["cls"] not in file.classes:
        raise SuiteError(f"{match['path']}: {did_you_mean(f'{base.__name__} in this file', match['cls'], fitting)}")
    cls = file.classes[match["cls"]]
    if not issubclass(cls, base):
        raise SuiteError(f"{name}: it extends no {base.__name__}, so it is not one")
    if lacking := sorted(getattr(cls, "__abstractmethods__", ())):
        raise SuiteError(f"{name} does not implement {', '.join(lacking)}")
    return cls


def load_file(path: str) -> ClassFile:
    """Import a file, once.

    Raises:
        SuiteError: it is not there, cannot be imported, or its stem is the name of another module.
    """
    where = Path(path).expanduser().resolve()
    file = _loaded(where)
    if _state(where) != file.state:
        raise SuiteError(f"{where}: it was changed after this process imported it; start again")
    return file


def _state(path: Path) -> tuple[int, int]:
    """What tells a file that was written again."""
    try:
        about = path.stat()
    except OSError as error:
        raise SuiteError(f"{path}: no such file; name the Python file that holds the class") from error
    return about.st_mtime_ns, about.st_size


@cache
def _loaded(path: Path) -> ClassFile:
    state = _state(path)
    found = importlib.util.find_spec(path.stem) if path.stem not in sys.modules else sys.modules[path.stem].__spec__
    if found is not None and found.origin != str(path):
        raise SuiteError(f"{path}: another module is called {path.stem!r} ({found.origin}); rename the file")
    changes: list[str] = []
    sys.path.append(str(path.parent))
    try:
        with guarded(f"importing {path.name}", changes.append, own=path.stem):
            module = importlib.import_module(path.stem)
    # A user's file may fail in any way: that is one line, which names the file.
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}".replace("\n", " ")
        raise SuiteError(f"{path}: it cannot be imported: {reason}") from error
    return ClassFile(path, _own_classes(module), tuple(changes), state)


def _own_classes(module: ModuleType) -> dict[str, type]:
    """The classes that a module does not import from elsewhere."""
    things: dict[str, Any] = vars(module)
    return {name: cls for name, cls in things.items() if isinstance(cls, type) and cls.__module__ == module.__name__}
