"""Which cell can begin: members before those that build on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from heapq import heapify, heappop, heappush

from fusionbench.suites.cell import Cell


class Waiting:
    """Cells in running order; one is given once all its members have ended, those that were lost before last."""

    def __init__(self, cells: Sequence[Cell], lost: Collection[str] = ()) -> None:
        """`lost`: keys of cells with an attempt that gave nothing: what they may take down comes after the others."""
        self.cells = {cell.key: cell for cell in cells}
        self._place = {key: (key in lost, i) for i, key in enumerate(self.cells)}
        self._unmet = {c.key: {key for _, key in c.members if key in self.cells} for c in cells}
        self._needed_by: dict[str, list[str]] = defaultdict(list)
        for key, members in self._unmet.items():
            for member in members:
                self._needed_by[member].append(key)
        self._ready = [(self._place[key], key) for key, members in self._unmet.items() if not members]
        heapify(self._ready)
        self._left = set(self.cells)

    def __len__(self) -> int:
        """Cells that have not ended."""
        return len(self._left)

    def take(self) -> Cell | None:
        """The next cell that can begin; None where none can now."""
        return self.cells[heappop(self._ready)[1]] if self._ready else None

    def take_beside(self, cell: Cell) -> list[Cell]:
        """Those of a taken cell's stack that can begin now, too; what was lost before stays by itself."""
        late = self._place[cell.key][0]
        wanted = {c.key for c in cell.stack}
        found = [entry for entry in self._ready if entry[1] in wanted and entry[0][0] == late]
        self._ready = [entry for entry in self._ready if entry not in found]
        heapify(self._ready)
        return [self.cells[key] for _, key in sorted(found)]

    def again(self, key: str) -> None:
        """A cell that was taken gave nothing: it is given once more, after the others."""
        self._place[key] = (True, self._place[key][1])
        heappush(self._ready, (self._place[key], key))

    def end(self, key: str) -> None:
        """A cell has its result; what builds on it may begin."""
        self._left.discard(key)
        for other in self._needed_by.pop(key, ()):
            self._unmet[other].discard(key)
            if not self._unmet[other]:
                heappush(self._ready, (self._place[other], other))
