"""Which files a plugin's code writes beside those that it is given a folder for."""

from __future__ import annotations

import inspect
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

Files = dict[str, tuple[int, int]]


def files_of_plugin(cls: type[Any]) -> Files:
    """Path of each file beside the module of a class to its time of change and size; of a package with what is below.

    What Python itself writes, `__pycache__`, is left out.
    """
    try:
        folder = Path(inspect.getfile(cls)).resolve().parent
    except (OSError, TypeError):  # a class that was made in a console has no file
        return {}
    found = folder.rglob("*") if (folder / "__init__.py").exists() else folder.glob("*")
    files = (path for path in found if "__pycache__" not in path.parts and path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}


def changed(before: Files, after: Files) -> list[str]:
    """Paths that are new, gone or other than they were."""
    return sorted(path for path in {*before, *after} if before.get(path) != after.get(path))


class Watched:
    """A context in which working directory and home are empty folders; `written` says afterwards what was written.

    Attributes:
        written: paths in the working directory, in the home and beside the plugin's module that were changed.
    """

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        self.written: list[str] = []

    def __enter__(self) -> Watched:
        self._before = files_of_plugin(self.cls)
        self._place = Path.cwd()
        self._home = os.environ.get("HOME")
        self._folder = tempfile.TemporaryDirectory()
        for name in ("work", "home"):
            (Path(self._folder.name) / name).mkdir()
        os.environ["HOME"] = str(Path(self._folder.name) / "home")
        os.chdir(Path(self._folder.name) / "work")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.chdir(self._place)
        if self._home is None:
            del os.environ["HOME"]
        else:
            os.environ["HOME"] = self._home
        inside = [
            f"{part}/{path.name}" for part in ("work", "home") for path in (Path(self._folder.name) / part).iterdir()
        ]
        self.written = [*sorted(inside), *changed(self._before, files_of_plugin(self.cls))]
        self._folder.cleanup()
