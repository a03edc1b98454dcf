"""Which suite a verb was asked for: by name, or by the path of a file of the user's own.

One results root has one suite of a name. A suite of the user's own is known there by its name once it has been run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, SuiteError
from fusionbench.core.registry import Registry, names_folder
from fusionbench.results.added_models import added_models
from fusionbench.results.store import Store
from fusionbench.results.suite_file import places, recorded, remember
from fusionbench.suites.lock import LOCK, read_lock, suite_from_lock
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import dataset_from_folder, how_to_rename, is_path, name_of_file, read_suite


@dataclass(frozen=True)
class FoundSuite:
    """A suite that a verb was asked for, and where its results are, or will be.

    Attributes:
        name: of the suite and of the folder of its results.
        called: what a command calls it: its name wherever that is enough, else the path of its file.
        file: its text; None where that is gone and only what is stored is left.
        lost: why there is no file, and what to do; empty where there is one.
        own: whether it is a file of the user's own.
    """

    name: str
    called: str
    store: Store
    registry: Registry
    file: Traversable | None
    lost: str = ""
    own: bool = False

    def load(self) -> Suite:
        """The suite as its file has it.

        Raises:
            SuiteError: the file is gone, or wrong.
        """
        if self.file is None:
            raise SuiteError(self.lost)
        if self.own and (now := name_of_file(self.registry, Path(str(self.file)))) != self.name:
            raise SuiteError(f"{self.file}: it is called {now!r} now, not {self.name!r}; name it by its path")
        return read_suite(self.registry, self.name, self.file)

    def load_or_stored(self) -> Suite:
        """The suite as it is run, with the models that runs added: of its file, or of its last run where that is gone.

        Raises:
            SuiteError: the file is wrong, or what a file beside it held is not in the lock. ResultsError: the lock is
                damaged, or another suite's.
        """
        return self.with_added(self.load() if self.file is not None else self._stored())

    def with_added(self, suite: Suite) -> Suite:
        """A suite with the models that earlier runs added to it.

        Raises:
            ResultsError: the record of these is damaged.
        """
        return suite.with_added(added_models(self.store))

    def _stored(self) -> Suite:
        where = self.store.folder / LOCK
        suite = suite_from_lock(read_lock(self.store.folder), str(where))
        if suite.name != self.name:
            raise ResultsError(f"{where}: the folder was {suite.name!r} when it was run; give it this name again")
        if suite.tuned is not None:
            raise SuiteError(f"{self.lost} (its tuned options are in {suite.tuned!r} beside it)")
        known = places(self.store)
        if not known:
            return suite
        # Datasets of the user's own begin beside the file, where it was seen last.
        datasets = tuple(dataset_from_folder(d, self.registry, known[-1].parent) for d in suite.datasets)
        return suite.model_copy(update={"datasets": datasets})

    def remember(self) -> None:
        """Record which file it is run from, so that its name is enough from now on.

        Raises:
            ResultsError: the record cannot be written.
        """
        if self.own and self.file is not None:
            remember(self.store, Path(str(self.file)))


def find_suite(asked: str, out: Path, registry: Registry) -> FoundSuite:
    """The suite of a name, or of a file of the user's own.

    Args:
        asked: an installed suite's name, the name of a suite that was run under `out`, or the path of a file.
        out: the results root.

    Raises:
        SuiteError: there is none; or another suite of its name has results under `out`.
        ResultsError: the record of the suite's file is damaged.
    """
    return _by_path(Path(asked).expanduser(), out, registry) if is_path(asked) else _by_name(asked, out, registry)


def _by_path(path: Path, out: Path, registry: Registry) -> FoundSuite:
    if not path.is_file():
        gone = Path(os.path.abspath(path))
        name = next((name for name, known in recorded(out) if gone in known), None)
        if name is not None:
            return _by_name(name, out, registry)
    name = name_of_file(registry, path)
    store = Store(out, name)
    known = [place for place in places(store) if place.is_file()]
    if known and not any(_same_suite(place, path) for place in known):
        raise SuiteError(
            f"{path}: {store.folder} has the results of another suite of this name, {known[0]}; "
            f"{how_to_rename(path)}, or choose another --out"
        )
    shown = str(path) if is_path(str(path)) else f"./{path}"
    return FoundSuite(name, name if known else shown, store, registry, path, own=True)


def _same_suite(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, or to copies of it, as where a study was copied with its results."""
    return one.samefile(other) or one.read_bytes() == other.read_bytes()


def _by_name(asked: str, out: Path, registry: Registry) -> FoundSuite:
    name = asked.replace(":", ".")  # a colon is no part of a folder's name everywhere
    store = Store(out, name)
    known = places(store) if names_folder(name) else ()
    if registry.knows("suites", asked):
        if known:
            raise SuiteError(
                f"{asked}: {store.folder} has the results of another suite of this name, {known[0]}, not of "
                f"{registry.suite(asked)}; {how_to_rename(known[0])}, or choose another --out"
            )
        return FoundSuite(name, asked, store, registry, registry.suite(asked))
    there = next((place for place in known if place.is_file()), None)
    if there is not None:
        return FoundSuite(name, name, store, registry, _seen_from_here(there), own=True)
    if not known and not (names_folder(name) and store.has_file(LOCK)):
        registry.suite(asked)  # raises: unknown, with neighbours and choices
    again = command(out, "run", f"<path of {name}.toml>")
    if known:
        lost = f"{name}: its file is gone, last seen as {known[-1]}; name the file: {again}"
    else:
        lost = f"{name}: no installed plugin brings this suite any more; install that plugin, or name a file: {again}"
    return FoundSuite(name, name, store, registry, None, lost, own=bool(known))


def _seen_from_here(path: Path) -> Path:
    """Relative to the working directory where it lies in there, as a user would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def results_of(asked: str, out: Path, registry: Registry) -> Store:
    """Where a suite's results are, or will be; raises as `find_suite` does."""
    return find_suite(asked, out, registry).store


def not_run(suite: FoundSuite) -> ResultsError:
    """The error of a suite without results."""
    start = command(suite.store.root, "run", suite.called)
    return ResultsError(f"{suite.name}: nothing has been run under {suite.store.root}; start with: {start}")
