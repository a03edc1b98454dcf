"""Tells what a library does when it is imported from what the plugin that imports it does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Around = Callable[[], AbstractContextManager[None]]


@contextmanager
def watched_imports(own: str, around: Around) -> Iterator[None]:
    """Inside, the code of each library that is imported for the first time runs in a context.

    Libraries that a library imports run in the same one. Python's own modules change no setting, and have none.

    Args:
        own: a top-level package that is no library.
        around: gives the context of one library.
    """
    finder = _Finder(own, around)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        if finder in sys.meta_path:
            sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds modules as the finders behind it do, and has their loaders watched."""

    def __init__(self, own: str, around: Around) -> None:
        self.own, self.around, self.busy = own, around, False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As other finders have it; None, so that they are asked, for what is not watched."""
        top = fullname.partition(".")[0]
        if self.busy or top == self.own or top in sys.stdlib_module_names:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        specs = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Watched(spec.loader, self)
        return spec


class _Watched(Loader):
    """Runs a module's code in the context of a library."""

    def __init__(self, loader: Loader, finder: _Finder) -> None:
        self.loader, self.finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the module's own loader does."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code; afterwards its loader is the one that it would have had."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        if self.finder.busy:
            self.loader.exec_module(module)
            return
        self.finder.busy = True
        try:
            with self.finder.around():
                self.loader.exec_module(module)
        finally:
            self.finder.busy = False
