"""StoredCell cells that no table of their suite can use any more, and their removal on explicit request."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fusionbench.core.errors import ResultsError
from fusionbench.core.registry import Registry
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.suites.cell import RESULTS_VERSION
from fusionbench.tools.planning import PlannedSuite
from fusionbench.tools.status.stored import StoredCell, StoredCells


def outdated_cells(planned: PlannedSuite, cells: StoredCells, registry: Registry) -> tuple[StoredCell, ...]:
    """StoredCell cells that no table of the suite can use any more.

    The planned cell of the same row, repeat and fold has other inputs, or there is none and a plugin's version changed.
    Another seed is another run. Cells of datasets that cannot be read here, or of a plugin that is not installed or
    broken, are kept: they may be what a table shows, and cannot be computed again on this machine.
    """
    wanted = {cell.key for cell in planned.plan.todo()}
    positions = {cell.position for cell in planned.plan.cells if not cell.skip}
    found = []
    for stored in cells.readable.values():
        if stored.key in wanted or stored.position[0] in planned.unread:
            continue
        replaced = stored.position in positions and stored.seed == planned.suite.seed
        if replaced or _other_versions(stored, registry):
            found.append(stored)
    return tuple(found)


def uninstalled_cells(cells: StoredCells, registry: Registry) -> tuple[StoredCell, ...]:
    """Stored cells made with a dataset, model or modality that is not installed here, or whose plugin is broken."""
    return tuple(cell for cell in cells.readable.values() if _lacking(cell, registry))


def _lacking(stored: StoredCell, registry: Registry) -> bool:
    return any(not registry.knows(kind, name) for kind, name, _ in _versions(stored.ingredients))


def _other_versions(stored: StoredCell, registry: Registry) -> bool:
    """Whether a stored cell was made by another version of something that is installed.

    False for a cell that does not record its inputs.
    """
    inputs = stored.ingredients
    if not inputs or _lacking(stored, registry):
        return False
    return inputs.get("results_version") != RESULTS_VERSION or any(
        registry.get(kind, name).version != version for kind, name, version in _versions(inputs)
    )


def _versions(inputs: Mapping[str, Any]) -> Iterable[tuple[str, str, Any]]:
    for kind, part in (("datasets", inputs.get("dataset")), ("models", inputs.get("model"))):
        if isinstance(part, Mapping) and "version" in part:
            yield kind, str(part.get("name")), part["version"]
    for reader in (inputs.get("modalities") or {}).values():
        yield "modalities", str(reader["kind"]), reader["version"]


def prune(outdated: Sequence[StoredCell], store: Store, removed: Callable[[StoredCell], None]) -> int:
    """Remove the folders of outdated cells, calling `removed` with each; returns how many.

    Raises:
        ResultsError: a run holds the folder, or a folder cannot be removed.
    """
    if not outdated:
        return 0
    with hold(store.folder):
        for stored in outdated:
            removed(stored)
            try:
                shutil.rmtree(store.cells / stored.key)
            except OSError as error:
                raise ResultsError(
                    f"{store.cells / stored.key} cannot be removed: {error.strerror or error}; the rest stays"
                ) from error
    return len(outdated)
