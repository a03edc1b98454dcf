"""A CaseSet as batches, epoch after epoch: what is kept where, and what is prepared ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from fusionbench.core.timing import COLLATE, span
from fusionbench.core.types import Batch, CaseSet, ModalitySpec, PreparedBag, PreparedCase
from fusionbench.data.collate import collate, select, size, stream

CACHE_BYTES = 3 << 29
"""Prepared cases kept in memory by one CaseFeed: 1.5 GiB."""
FORMED_BYTES = 1 << 26
"""Batches for evaluation that are kept from one epoch to the next: 64 MiB."""
GPU_SHARE = 0.3
"""Of the GPU memory that is free when a feed is made, what its cases may take. Training has two feeds, and the model's
own memory comes on top."""


class CaseFeed:
    """Batches of a CaseSet with targets, again and again.

    Each case is prepared once and kept while the kept ones fit: on a GPU first, then in the machine's memory; the
    others are prepared anew whenever they are asked for, on a GPU while it still computes with the batch before. Where
    every bag is a vector, all cases are collated once and batches are cut out of that. The numbers do not depend on
    which way is taken.

    Attributes:
        lengths: (case,) bytes of each prepared case.
        held: bytes kept in the machine's memory.
    """

    def __init__(
        self,
        cases: CaseSet,
        specs: Mapping[str, ModalitySpec],
        device: torch.device,
        *,
        budget: int = CACHE_BYTES,
    ) -> None:
        self._cases, self._specs, self._device = cases, specs, device
        self._kept: dict[int, PreparedCase] = {}
        # not a method of this: what refers to itself, and holds much of a GPU, stays until garbage is next looked for
        self._prepared = partial(_prepared, cases, device)
        self._ahead = Ahead(self._prepared) if device.type == "cuda" else None
        self.lengths: list[int] = []
        self.held = 0
        room = int(GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
        for i, case in enumerate(cases):
            self.lengths.append(size(case))
            if self.lengths[i] <= room and not _of_vectors(case):
                self._kept[i] = _each(case, lambda x: x.to(device))
                room -= self.lengths[i]
            elif self.held + self.lengths[i] <= budget:
                self._kept[i] = _pinned(case, device)
                self.held += self.lengths[i]
        self._whole = self._collate_vectors()
        self._formed: tuple[int, list[tuple[list[int], Batch]]] | None = None

    def _collate_vectors(self) -> Batch | None:
        kept = list(self._kept.values())
        if len(kept) < len(self._cases) or not all(map(_of_vectors, kept)):
            return None
        return collate(kept, self._specs, self._cases.targets, self._device)

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[PreparedCase]:
        """The prepared cases in their order."""
        self.coming([i] for i in range(len(self)))
        return (self._taken([i])[0] for i in range(len(self)))

    def coming(self, batches: Iterable[Sequence[int]]) -> None:
        """What will be asked for, in this order; on a GPU the next of them is prepared while it computes."""
        if self._ahead is not None:
            self._ahead.expect([i for i in index if i not in self._kept] for index in batches)

    def batch(self, index: Sequence[int], draw: Callable[[PreparedCase], PreparedCase] | None = None) -> Batch:
        """The cases at `index`, each passed through `draw` (which may subsample its bags), on the device."""
        with span(COLLATE):
            if self._whole is not None:
                return select(self._whole, index)
            cases = self._taken(index)
            targets = self._cases.take(index).targets
            return collate([draw(c) for c in cases] if draw else cases, self._specs, targets, self._device)

    def evaluation(self, batch_size: int) -> Iterable[tuple[list[int], Batch]]:
        """What `bags.stream` makes of the cases; put together once where they are all in memory and small."""
        if self._formed is not None and self._formed[0] == batch_size:
            return self._formed[1]
        formed = stream(self, self._specs, batch_size, self._device)
        if len(self._kept) < len(self) or len(self) * max(self.lengths, default=0) > FORMED_BYTES:
            return formed
        self._formed = batch_size, list(formed)
        return self._formed[1]

    def _taken(self, index: Sequence[int]) -> list[PreparedCase]:
        others = [i for i in index if i not in self._kept]
        made = self._ahead.take(others) if self._ahead is not None else [self._prepared(i) for i in others]
        anew = dict(zip(others, made, strict=True))
        return [anew[i] if i in anew else self._kept[i] for i in index]


class Ahead:
    """Prepares the cases of the next batch in a thread of its own; one batch at a time, so little is held."""

    def __init__(self, prepare: Callable[[int], PreparedCase]) -> None:
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._order: deque[list[int]] = deque()
        self._next: tuple[list[int], list[Future[PreparedCase]]] | None = None

    def expect(self, order: Iterable[list[int]]) -> None:
        """Cases to prepare for each batch; whatever was expected before is forgotten."""
        self._order = deque(order)
        self._begin()

    def take(self, index: list[int]) -> list[PreparedCase]:
        """The cases at `index`, as expected or not; the batch behind them is begun."""
        if self._next is None or self._next[0] != index:
            return [self._prepare(i) for i in index]
        made = self._next[1]
        self._begin()
        return [future.result() for future in made]

    def _begin(self) -> None:
        self._next = None
        if self._order:
            index = self._order.popleft()
            self._next = index, [self._thread.submit(self._prepare, i) for i in index]


def _prepared(cases: CaseSet, device: torch.device, i: int) -> PreparedCase:
    return _pinned(cases[i], device)


def _pinned(case: PreparedCase, device: torch.device) -> PreparedCase:
    """In memory that a GPU can fetch from by itself."""
    return _each(case, lambda x: x.pin_memory()) if device.type == "cuda" else case


def _of_vectors(case: PreparedCase) -> bool:
    return all(len(bag.values) == 1 for bag in case.bags.values())


def _each(case: PreparedCase, change: Callable[[Tensor], Tensor]) -> PreparedCase:
    def changed(bag: PreparedBag) -> PreparedBag:
        coords = None if bag.coords is None else change(bag.coords)
        return replace(bag, values=change(bag.values), coords=coords)

    return replace(case, bags={name: changed(bag) for name, bag in case.bags.items()})
