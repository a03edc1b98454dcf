"""What is installed: entry points of group `fusionbench`, each loaded, checked and called inside its own try."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from fusionbench.core import hookspecs
from fusionbench.core.class_files import in_file, load_class, load_file
from fusionbench.core.commands import OWN_COMMANDS
from fusionbench.core.errors import PluginError, SuiteError, did_you_mean
from fusionbench.core.file_names import is_plain
from fusionbench.core.guard import guarded

if TYPE_CHECKING:
    from fusionbench import Dataset, FusionModel, Metric, Modality

GROUP = "fusionbench"
OWN_FILE = "own file"
"""Distribution of what is in no package; its version is the beginning of the file's SHA-256."""
TAKEN = frozenset({"published", "mlartifacts"})
"""Folders of a results root that are no suite's."""
FOLDER_NAMES = (
    "rename the file: up to 80 letters, digits, _, - and dots, none leading, and none of a system's own names"
)
ALL_KINDS = frozenset(hookspecs.HOOKS)
BASES: Mapping[str, str] = {
    "modalities": "Modality",
    "datasets": "Dataset",
    "models": "FusionModel",
    "metrics": "Metric",
    "executors": "Executor",
    "encoders": "Encoder",
}
"""Kind to the interface that its things extend; by name, since `--help` asks for none of them."""


@dataclass(frozen=True)
class PluginRecord:
    """One row of `fusionbench plugins`.

    Attributes:
        name: the entry point's name, with its distribution where two have the same; `fusionbench check` takes it.
        provides: kind (models, datasets, ...) to the names it brings.
        reason: why it is broken; empty where it is not.
        changed_settings: settings of the process that it changed when it was imported; they were put back.
    """

    name: str
    distribution: str
    version: str
    licence: str
    provides: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    status: Literal["ok", "broken"] = "ok"
    reason: str = ""
    changed_settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Registry:
    """A frozen view of the installed plugins.

    Attributes:
        found: kind to name to (thing, plugin name); the name is `distribution:name` where two bring the same.
        changed_settings: lines about settings of the process that plugins changed when they were imported, or when
            they were called outside a cell; they were put back.
    """

    plugins: tuple[PluginRecord, ...]
    found: Mapping[str, Mapping[str, tuple[Any, str]]]
    changed_settings: list[str] = field(default_factory=list, compare=False)

    def note(self, line: str) -> None:
        """Keep a line about a changed setting, once."""
        if line not in self.changed_settings:
            self.changed_settings.append(line)

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of one kind, sorted; empty for a kind that was not looked for."""
        return tuple(sorted(self.found.get(kind, {})))

    def get(self, kind: str, name: str) -> Any:
        """The thing called `name`.

        Raises:
            SuiteError: unknown; says neighbours, every choice, and which plugins are broken and why. Or two
                distributions bring the name; says the names to write.
        """
        if in_file(name):
            return load_class(name, base_of(kind))
        entry = self._entry(kind, name)
        if entry is not None:
            return entry[0]
        singular = {"modalities": "modality kind"}.get(kind, kind.removesuffix("s"))
        qualified = [known for known in self.names(kind) if known.endswith(f":{name}")]
        if qualified:
            raise SuiteError(f"{singular} {name!r} is provided by two distributions; write {' or '.join(qualified)}")
        message = did_you_mean(singular, name, self.found.get(kind, {}))
        broken = [f"{p.name} ({p.reason})" for p in self.plugins if p.status == "broken" and not p.provides]
        if broken:
            message += f". Plugins that could not be loaded: {'; '.join(broken)}"
        raise SuiteError(message)

    def knows(self, kind: str, name: str) -> bool:
        """Whether there is a thing called `name`, with or without its distribution."""
        if in_file(name):
            try:
                self.get(kind, name)
            except SuiteError:
                return False
            return True
        return self._entry(kind, name) is not None

    def owner(self, kind: str, name: str) -> PluginRecord:
        """The plugin that brings a thing; KeyError where there is no such thing."""
        if in_file(name):
            return file_record(name.rpartition(":")[0])
        entry = self._entry(kind, name)
        if entry is None:
            raise KeyError(name)
        return self._record(entry[1])

    def _record(self, plugin: str) -> PluginRecord:
        return next(record for record in self.plugins if record.name == plugin)

    def _entry(self, kind: str, name: str) -> tuple[Any, str] | None:
        """The thing and its plugin's name; `distribution:name` also finds what is known by `name` alone."""
        things = self.found.get(kind, {})
        distribution, _, plain = name.rpartition(":")
        if name in things or not distribution or plain not in things:
            return things.get(name)
        return things[plain] if self._record(things[plain][1]).distribution == distribution else None

    def model(self, name: str) -> type[FusionModel]:
        """A fusion model's class; raises SuiteError where it is unknown."""
        cls: type[FusionModel] = self.get("models", name)
        return cls

    def dataset(self, name: str) -> type[Dataset]:
        """A dataset's class; raises SuiteError where it is unknown."""
        cls: type[Dataset] = self.get("datasets", name)
        return cls

    def metric(self, name: str) -> type[Metric]:
        """A metric's class; raises SuiteError where it is unknown."""
        cls: type[Metric] = self.get("metrics", name)
        return cls

    @property
    def modalities(self) -> Mapping[str, type[Modality]]:
        """Name of each modality kind to the class that reads it."""
        return {name: thing for name, (thing, _) in self.found.get("modalities", {}).items()}

    def suite(self, name: str) -> Traversable:
        """Where a suite is.

        Raises:
            SuiteError: unknown.
        """
        try:
            path: Traversable = self.get("suites", name)
        except SuiteError as error:
            raise SuiteError(f"{error}; a suite file of your own is named by its path, such as ./{name}.toml") from None
        return path


def discover(kinds: Collection[str] = ALL_KINDS, points: Collection[EntryPoint] | None = None) -> Registry:
    """Load every plugin and call its hooks of `kinds` (fewer kinds import less).

    Two plugins of one name, and two that bring the same name, are broken rows with the remedy. Each of both things is
    then known as `distribution:name` alone; all else goes on. So is a plugin with a command named as one of our own.
    """
    found_points = points if points is not None else entry_points(group=GROUP)
    loaded = [_load(point, kinds) for point in sorted(found_points, key=lambda p: (p.name, _distribution(p)))]
    loaded = [(_apart(record, [r for r, _ in loaded]), things) for record, things in loaded]
    providers: dict[str, dict[str, list[PluginRecord]]] = {kind: {} for kind in sorted(kinds)}
    for record, things in loaded:
        for kind, by_name in things.items():
            for name in by_name:
                providers[kind].setdefault(name, []).append(record)
    found: dict[str, dict[str, tuple[Any, str]]] = {kind: {} for kind in providers}
    records = []
    for record, things in loaded:
        named = {kind: _names(kind, by_name, record, providers[kind]) for kind, by_name in things.items()}
        for kind, by_name in named.items():
            found[kind] |= {name: (thing, record.name) for name, thing in by_name.items()}
        records.append(_listed(record, named, providers))
    changes = [line for record in records for line in record.changed_settings]
    return Registry(tuple(records), MappingProxyType({k: MappingProxyType(v) for k, v in found.items()}), changes)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown"


def _apart(record: PluginRecord, records: Sequence[PluginRecord]) -> PluginRecord:
    """The record under a name of its own; broken where another distribution has a plugin of its name."""
    others = [r.distribution for r in records if r.name == record.name and r is not record]
    if not others:
        return record
    reason = (
        f"two plugins are called {record.name!r}, one of {record.distribution} and one of {others[0]}; "
        "uninstall one or rename its entry point"
    )
    qualified = f"{record.distribution}:{record.name}"
    return replace(record, name=qualified, status="broken", reason=record.reason or reason)


def _names(
    kind: str, things: Mapping[str, Any], record: PluginRecord, providers: Mapping[str, Sequence[PluginRecord]]
) -> dict[str, Any]:
    """The things of a plugin, by the names that no other thing of the kind has; without commands named as our own."""
    named = {}
    for name, thing in things.items():
        if kind == "commands" and name in OWN_COMMANDS:
            continue
        distributions = [r.distribution for r in providers[name]]
        if len(distributions) == 1:
            named[name] = thing
        elif distributions.count(record.distribution) == 1:
            named[f"{record.distribution}:{name}"] = thing
    return named


def _listed(
    record: PluginRecord,
    named: Mapping[str, Mapping[str, Any]],
    providers: Mapping[str, Mapping[str, Sequence[PluginRecord]]],
) -> PluginRecord:
    """The record with what it provides; broken where another plugin brings one of the same names."""
    record = replace(record, provides={kind: tuple(sorted(names)) for kind, names in named.items() if names})
    for name, owners in providers.get("commands", {}).items():
        if name in OWN_COMMANDS and record.name in {r.name for r in owners} and record.status == "ok":
            reason = f"commands: {name!r} is fusionbench's own command, which is the one that runs; rename the plugin's"
            record = replace(record, status="broken", reason=reason)
    for kind, by_name in providers.items():
        for name, owners in by_name.items():
            others = [r for r in owners if r.name != record.name]
            if others and len(others) < len(owners) and record.status == "ok":
                reason = (
                    f"{kind}: {name!r} is provided by plugin {others[0].name!r} of {others[0].distribution}, too; "
                    f"uninstall one, rename it, or write {record.distribution}:{name}"
                )
                record = replace(record, status="broken", reason=reason)
    return record


def _load(point: EntryPoint, kinds: Collection[str]) -> tuple[PluginRecord, dict[str, dict[str, Any]]]:
    dist = point.dist
    meta: Any = dist.metadata if dist is not None else {}
    record = PluginRecord(point.name, meta.get("Name") or "unknown", meta.get("Version") or "unknown", _licence(meta))
    changes: list[str] = []
    try:
        with guarded(f"importing plugin {point.name}", changes.append, own=point.module.partition(".")[0]):
            things = _things(point, kinds)
    # A plugin is third-party code and may fail in any way: that is a row with a reason, and others go on.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        reason = f"{type(error).__name__}: {str(error).strip() or 'no message'}".replace("\n", " ")
        return replace(record, status="broken", reason=reason, changed_settings=tuple(changes)), {}
    return replace(record, changed_settings=tuple(changes)), things


def _things(point: EntryPoint, kinds: Collection[str]) -> dict[str, dict[str, Any]]:
    """What a plugin's hooks return, by kind and name."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(point.load(), name=point.name)
    manager.check_pending()
    return {kind: _call(manager, kind) for kind in sorted(kinds)}


def file_record(path: str) -> PluginRecord:
    """A file with classes as a plugin: what it provides, by the names that references write.

    Raises:
        SuiteError: it cannot be imported.
    """
    file, where = load_file(path), Path(path).as_posix()
    provides = {
        kind: tuple(f"{where}:{name}" for name, cls in file.classes.items() if _is_whole(cls, base_of(kind)))
        for kind in BASES
    }
    version = hashlib.sha256(file.path.read_bytes()).hexdigest()[:12]
    named = {kind: names for kind, names in provides.items() if names}
    return PluginRecord(where, OWN_FILE, version, "not stated", named, changed_settings=file.changed_settings)


def _is_whole(cls: type, base: type) -> bool:
    return issubclass(cls, base) and not getattr(cls, "__abstractmethods__", ())


def base_of(kind: str) -> type:
    """The abstract class that plugins of a kind extend."""
    base: type = getattr(import_module("fusionbench"), BASES[kind])
    return base


def _call(manager: pluggy.PluginManager, kind: str) -> dict[str, Any]:
    hook = hookspecs.HOOKS[kind]
    caller = getattr(manager.hook, hook)
    results = caller()
    if len(results) < len(caller.get_hookimpls()):  # pluggy leaves out what is None
        raise PluginError(f"{hook} returned None; return a list, also where it is empty")
    by_name: dict[str, Any] = {}
    for result in results:
        for thing in list(result):
            name = _name_of(kind, thing)
            if not isinstance(name, str) or not name:
                raise PluginError(f"{hook} returned {thing!r}, which has no name")
            if kind == "suites" and not names_folder(name):
                raise PluginError(
                    f"{hook} returned a suite {name!r}, which names the folder of its results; {FOLDER_NAMES}"
                )
            if name in by_name:
                raise PluginError(f"{hook} returned {name!r} twice")
            if kind in BASES:
                _check_class(hook, thing, base_of(kind))
            by_name[name] = thing
    return by_name


def _name_of(kind: str, thing: Any) -> Any:
    """A suite is called as its file, a command as its Typer says, a function as itself; everything else has a name."""
    if kind == "suites":
        return PurePosixPath(thing.name).stem
    if kind == "findings":
        return getattr(thing, "__name__", None)
    return getattr(getattr(thing, "info", None) if kind == "commands" else thing, "name", None)


def names_folder(name: str) -> bool:
    """Whether a suite of this name can have a folder of its own under every results root."""
    return is_plain(name) and name not in TAKEN


def _check_class(hook: str, thing: Any, base: type) -> None:
    if not (isinstance(thing, type) and issubclass(thing, base)):
        raise PluginError(f"{hook} returned {thing!r}; a subclass of {base.__name__} is needed")
    lacking = sorted(getattr(thing, "__abstractmethods__", ()))
    if lacking:
        raise PluginError(f"{hook} returned {thing!r}, which does not implement {', '.join(lacking)}")


def _licence(meta: Any) -> str:
    stated = str(meta.get("License-Expression") or meta.get("License") or "").strip()
    return stated.splitlines()[0] if stated else "not stated"
