"""What computed a suite's numbers, from the records of its cells: plugins, packages and machines.

Nothing here is what is installed now: a lock, a table or a published run that is written later names the same versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

NOT_RECORDED = "not recorded"
"""Version of what a cell of an older fusionbench does not say."""
COMPUTED = ("fusionbench", "plugins", "model_plugins", "packages", "machines", "differences")
"""Keys of a lock that say what computed its cells."""
SOURCE = ("plugin", "distribution", "version")

Record = Mapping[str, Any]
"""What `cell.json` has under `record`."""


def provenance(records: Sequence[Record]) -> dict[str, Any]:
    """The part of a lock that says what computed the cells; equal for equal records, whatever is installed.

    Args:
        records: of the finished cells, without failures.

    Returns:
        `fusionbench`, `plugins` and `packages`: versions, with commas between them where cells differ; `model_plugins`:
        model to plugin, distribution and its version; `machines`; `differences`: a line for each of these that is not
        the same in all cells.
    """
    return {
        "fusionbench": _joined(map(_fusionbench, records)),
        "plugins": _by_name(map(_plugins, records)),
        "model_plugins": _sources((about["cell"]["model"].partition("[")[0], about.get("source")) for about in records),
        "packages": _by_name(map(_packages, records)),
        "machines": sorted(set(map(machine, records))),
        "differences": [line for _, line in differences(records)],
    }


def dataset_plugins(records: Iterable[Record]) -> dict[str, dict[str, str]]:
    """Dataset as written to the plugin, the distribution and the version that read it for the cells."""
    return _sources((about["cell"]["dataset"], about.get("dataset_source")) for about in records)


def differences(records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """(what, line) of each plugin, package and machine that is not the same in all cells."""
    yield from _difference("fusionbench", [(about, _fusionbench(about)) for about in records])
    for kind, versions_of in (("plugin ", _plugins), ("", _packages)):
        versions = [(about, versions_of(about)) for about in records]
        for name in sorted({name for _, known in versions for name in known}):
            yield from _difference(f"{kind}{name}", [(about, known.get(name, "")) for about, known in versions])
    yield from _difference("machine", [(about, machine(about)) for about in records])


def _difference(what: str, values: Iterable[tuple[Record, str]]) -> Iterator[tuple[str, str]]:
    """One line where the cells have several values; cells without one (of other models' plugins) do not count."""
    counts: dict[str, int] = {}
    rows: dict[tuple[str, ...], set[str]] = {}
    for about, value in values:
        if value:
            counts[value] = counts.get(value, 0) + 1
            rows.setdefault(_row(about), set()).add(value)
    if len(counts) > 1:
        mixed = sum(len(values) > 1 for values in rows.values())
        told = "; ".join(f"{value} ({n} cell{'' if n == 1 else 's'})" for value, n in sorted(counts.items()))
        yield what, f"{what}: {told}; {mixed} of {len(rows)} rows have cells of several"


def _row(about: Record) -> tuple[str, ...]:
    return tuple(str(about["cell"][name]) for name in ("dataset", "model", "modalities", "variant"))


def _environment(about: Record) -> Mapping[str, Any]:
    found: Mapping[str, Any] = about.get("environment", {})
    return found


def _plugins(about: Record) -> Mapping[str, str]:
    found: Mapping[str, str] = about.get("plugins", {})
    return found


def _packages(about: Record) -> Mapping[str, str]:
    found: Mapping[str, str] = _environment(about).get("packages", {})
    return found


def _fusionbench(about: Record) -> str:
    return str(_environment(about).get("fusionbench", NOT_RECORDED))


def machine(about: Record) -> str:
    """Processor, system, cores, memory, Python and device of a cell, in words."""
    environment = _environment(about)
    found = environment.get("machine")
    if found is None:
        return NOT_RECORDED
    processor = found.get("processor", "processor not recorded")
    size = f"{found['cores']} cores, {found['memory_gib']} GiB"
    device = environment.get("gpu", environment.get("device", ""))
    return f"{processor}, {found['system']}, {size}, Python {found['python']}, {device}"


def _by_name(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    versions: dict[str, set[str]] = {}
    for part in parts:
        for name, version in part.items():
            versions.setdefault(name, set()).add(version)
    return {name: _joined(versions[name]) for name in sorted(versions)}


def _sources(named: Iterable[tuple[str, Mapping[str, str] | None]]) -> dict[str, dict[str, str]]:
    """Name to plugin, distribution and its version, of those whose cells say it."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for name, source in named:
        if source:
            found.setdefault(name, []).append(source)
    return {
        name: {
            "distribution_version" if key == "version" else key: _joined(str(source[key]) for source in sources)
            for key in SOURCE
        }
        for name, sources in sorted(found.items())
    }


def _joined(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))
