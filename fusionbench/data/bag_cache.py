"""Prepared bags kept in memory."""

from __future__ import annotations

from typing import Any

from fusionbench.core.types import PreparedBag

CACHE_BYTES = 1 << 28
"""Prepared bags kept per fitted modality: 256 MiB, several times the largest table of HANCOCK and TCGA."""


class BagCache:
    """Prepared bags of cases, up to a limit in bytes.

    It keeps the first bags, not the latest: epochs visit all cases in turn, and so the share that fits is always there.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit, self.used = limit, 0
        self._bags: dict[str, tuple[Any, PreparedBag]] = {}

    def __reduce__(self) -> tuple[type[BagCache], tuple[int]]:
        # Pickled empty: the bags would be sent to every worker.
        return BagCache, (self.limit,)

    def get(self, case_id: str, ref: Any) -> PreparedBag | None:
        """The bag prepared from `ref`; None where there is none.

        Compared by identity: with another cohort, the same case id may have other values.
        """
        known, bag = self._bags.get(case_id, (None, None))
        return bag if known is ref else None

    def put(self, case_id: str, ref: Any, bag: PreparedBag) -> None:
        """Keep the bag that was prepared from a case's `ref`, if there is room."""
        size = bag.values.nbytes + (0 if bag.coords is None else bag.coords.nbytes)
        if case_id not in self._bags and self.used + size <= self.limit:
            self._bags[case_id] = (ref, bag)
            self.used += size
