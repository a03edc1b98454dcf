"""Stored cells that no table of their suite can use any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fusionbench.core.errors import SuiteError
from fusionbench.core.registry import Registry
from fusionbench.suites.cell import RESULTS_VERSION
from fusionbench.tools.planning import PlannedSuite
from fusionbench.tools.status.stored import Cells, Stored, place_of


def outdated_cells(planned: PlannedSuite, cells: Cells, registry: Registry) -> tuple[Stored, ...]:
    """Stored cells that no table of the suite can use any more, oldest first.

    Their place is planned with other inputs, or they are of no planned place and of a version that is not installed.
    Another seed is another run, and cells of datasets that cannot be read here are left alone.
    """
    wanted = {cell.key for cell in planned.plan.todo()}
    places = {place_of(cell) for cell in planned.plan.cells if not cell.skip}
    found = []
    for stored in cells.readable.values():
        if stored.key in wanted or stored.place[0] in planned.unread:
            continue
        replaced = stored.place in places and stored.seed == planned.suite.seed
        if replaced or not _installed(stored, registry):
            found.append(stored)
    return tuple(sorted(found, key=lambda s: s.written))


def _installed(stored: Stored, registry: Registry) -> bool:
    """Whether a stored cell is of the versions installed; one that does not say is taken to be."""
    inputs = stored.ingredients
    if not inputs:
        return True
    return inputs.get("results_version") == RESULTS_VERSION and all(
        _version(registry, kind, name) == version for kind, name, version in _versions(inputs)
    )


def _versions(inputs: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    for kind, part in (("datasets", inputs.get("dataset")), ("models", inputs.get("model"))):
        if isinstance(part, Mapping) and "version" in part:
            yield kind, str(part.get("name")), part["version"]
    for reader in (inputs.get("modalities") or {}).values():
        yield "modalities", str(reader["kind"]), reader["version"]


def _version(registry: Registry, kind: str, name: str) -> str | None:
    try:
        return str(registry.get(kind, name).version)
    except SuiteError:  # not installed any more
        return None
