"""Outdated cells removed, on explicit request only."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from fusionbench.core.errors import ResultsError
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.tools.status.status import Status
from fusionbench.tools.status.stored import Stored


def prune(status: Status, store: Store, tell: Callable[[Stored], None]) -> int:
    """Remove the folders of a status's outdated cells, telling of each; returns how many.

    Raises:
        ResultsError: a run holds the folder, or a folder cannot be removed.
    """
    if not status.outdated:
        return 0
    with hold(store.folder):
        for stored in status.outdated:
            tell(stored)
            try:
                shutil.rmtree(store.cells / stored.key)
            except OSError as error:
                raise ResultsError(
                    f"{store.cells / stored.key} cannot be removed: {error.strerror or error}; the rest stays"
                ) from error
    return len(status.outdated)
