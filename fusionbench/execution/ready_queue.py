"""The order in which cells begin: members before the cells that build on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush

from fusionbench.suites.cell import Cell


class ReadyQueue:
    """Cells in running order; a cell is ready once all its members have a result."""

    def __init__(self, cells: Sequence[Cell], lost: Collection[str] = ()) -> None:
        """`lost`: keys of cells whose earlier attempts gave no result; they come last."""
        self.cells = {cell.key: cell for cell in cells}
        self._order = {key: (key in lost, i) for i, key in enumerate(self.cells)}
        self._unmet = {c.key: {key for _, key in c.members if key in self.cells} for c in cells}
        self._needed_by: dict[str, list[str]] = defaultdict(list)
        for key, members in self._unmet.items():
            for member in members:
                self._needed_by[member].append(key)
        self._ready = [(self._order[key], key) for key, members in self._unmet.items() if not members]
        heapify(self._ready)
        self._left = set(self.cells)

    def __len__(self) -> int:
        """How many cells have no result yet."""
        return len(self._left)

    def pop_next(self) -> Cell | None:
        """The next cell that is ready; None where none is."""
        return self.cells[heappop(self._ready)[1]] if self._ready else None

    def again(self, key: str) -> None:
        """Put back a cell that was taken and gave no result; it comes after the others."""
        self._order[key] = (True, self._order[key][1])
        heappush(self._ready, (self._order[key], key))

    def end(self, key: str) -> None:
        """Note that a cell has its result; cells that build on it may become ready."""
        self._left.discard(key)
        for other in self._needed_by.pop(key, ()):
            self._unmet[other].discard(key)
            if not self._unmet[other]:
                heappush(self._ready, (self._order[other], other))
