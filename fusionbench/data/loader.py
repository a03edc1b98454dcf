"""Batches of a CaseSet, epoch after epoch: which prepared cases are kept where, and which are prepared ahead."""

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
from fusionbench.data.bag_parts import with_neighbours
from fusionbench.data.collate import collate, longest, select, size, stream

CACHE_BYTES = 3 << 29
"""Prepared cases that one CaseLoader keeps in the machine's memory: 1.5 GiB."""
EVAL_CACHE_BYTES = 1 << 26
"""Evaluation batches that are kept from one epoch to the next: 64 MiB."""
GPU_SHARE = 0.3
"""Share of the free GPU memory that a loader's cases may take. Training has two loaders, and the model's own memory
comes on top."""


class CaseLoader:
    """Batches of a CaseSet with targets, any number of times.

    Each case is prepared once and kept while the kept ones fit: on a GPU first, then in the machine's memory. The other
    cases are prepared each time they are needed, with a GPU while it computes the batch before. Where every bag is a
    vector, all cases are collated once and batches are selected from that. All ways give the same numbers.

    Attributes:
        lengths: (case,) bytes of each prepared case.
        tokens: (case,) instances of its longest bag.
        cached_bytes: bytes kept in the machine's memory.
    """

    def __init__(
        self,
        cases: CaseSet,
        specs: Mapping[str, ModalitySpec],
        device: torch.device,
        *,
        cache_bytes: int = CACHE_BYTES,
        neighbours: int = 0,
    ) -> None:
        """`neighbours`: of each instance, for a module that asks for them."""
        self._cases, self._specs, self._device = cases, specs, device
        self._cached: dict[int, PreparedCase] = {}
        # Not a bound method: that would be a reference cycle, and cached cases would hold GPU memory until the garbage
        # collector runs.
        self._prepare = partial(_prepare, cases, specs, neighbours, device)
        self._neighbours = neighbours
        self._prefetcher = Prefetcher(self._prepare) if device.type == "cuda" else None
        self.lengths: list[int] = []
        self.tokens: list[int] = []
        self.cached_bytes = 0
        gpu_room = int(GPU_SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
        for i, plain in enumerate(cases):
            case = with_neighbours(plain, neighbours, specs)
            self.lengths.append(size(case))
            self.tokens.append(longest(case))
            if self.lengths[i] <= gpu_room and not _only_vectors(case):
                self._cached[i] = _map_tensors(case, lambda x: x.to(device))
                gpu_room -= self.lengths[i]
            elif self.cached_bytes + self.lengths[i] <= cache_bytes:
                self._cached[i] = _pinned(case, device)
                self.cached_bytes += self.lengths[i]
        self._collated = self._collate_vectors()
        self._eval_batches: tuple[int, list[tuple[list[int], Batch]]] | None = None  # batch size, batches

    def _collate_vectors(self) -> Batch | None:
        """All cases as one batch; None where a case is not cached or has a bag that is no vector."""
        cached = list(self._cached.values())
        if len(cached) < len(self._cases) or not all(map(_only_vectors, cached)):
            return None
        return collate(cached, self._specs, self._cases.targets, self._device)

    def __len__(self) -> int:
        return len(self._cases)

    def __iter__(self) -> Iterator[PreparedCase]:
        """The prepared cases in their order."""
        self.schedule([i] for i in range(len(self)))
        return (self._cases_at([i])[0] for i in range(len(self)))

    def schedule(self, batches: Iterable[Sequence[int]]) -> None:
        """Announce the batches to come, in order: with a GPU, the next one is prepared while it computes."""
        if self._prefetcher is not None:
            self._prefetcher.schedule([i for i in index if i not in self._cached] for index in batches)

    def batch(self, index: Sequence[int], draw: Callable[[PreparedCase], PreparedCase] | None = None) -> Batch:
        """The cases at `index` on the device; `draw` is applied to each case and may subsample its bags."""
        with span(COLLATE):
            if self._collated is not None:  # vectors: there are no instances to subsample
                return select(self._collated, index)
            cases = self._cases_at(index)
            targets = self._cases.take(index).targets
            if draw is not None:
                cases = [with_neighbours(draw(case), self._neighbours, self._specs) for case in cases]
            return collate(cases, self._specs, targets, self._device)

    def evaluation_batches(self, batch_size: int) -> Iterable[tuple[list[int], Batch]]:
        """Batches as `collate.stream` forms them; formed once where all cases are cached and small."""
        if self._eval_batches is not None and self._eval_batches[0] == batch_size:
            return self._eval_batches[1]
        batches = stream(self, self._specs, batch_size, self._device)
        if len(self._cached) < len(self) or len(self) * max(self.lengths, default=0) > EVAL_CACHE_BYTES:
            return batches
        self._eval_batches = batch_size, list(batches)
        return self._eval_batches[1]

    def _cases_at(self, index: Sequence[int]) -> list[PreparedCase]:
        """The prepared cases at `index`: cached, prefetched, or prepared now."""
        missing = [i for i in index if i not in self._cached]
        if self._prefetcher is not None:
            prepared = self._prefetcher.take(missing)
        else:
            prepared = [self._prepare(i) for i in missing]
        others = dict(zip(missing, prepared, strict=True))
        return [others[i] if i in others else self._cached[i] for i in index]


class Prefetcher:
    """Prepares the cases of the next batch in a thread; only one batch ahead, so that little memory is held."""

    def __init__(self, prepare: Callable[[int], PreparedCase]) -> None:
        self._prepare = prepare
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._scheduled: deque[list[int]] = deque()
        self._next: tuple[list[int], list[Future[PreparedCase]]] | None = None

    def schedule(self, batches: Iterable[list[int]]) -> None:
        """Positions of the cases of each batch to come; replaces an earlier schedule."""
        self._scheduled = deque(batches)
        self._start_next()

    def take(self, index: list[int]) -> list[PreparedCase]:
        """The cases at `index`, whether they are next in the schedule or not; starts on the batch after it."""
        if self._next is None or self._next[0] != index:
            return [self._prepare(i) for i in index]
        futures = self._next[1]
        self._start_next()  # queued behind `futures` in the one thread, before waiting for them
        return [future.result() for future in futures]

    def _start_next(self) -> None:
        self._next = None
        if self._scheduled:
            index = self._scheduled.popleft()
            self._next = index, [self._thread.submit(self._prepare, i) for i in index]


def _prepare(
    cases: CaseSet, specs: Mapping[str, ModalitySpec], neighbours: int, device: torch.device, i: int
) -> PreparedCase:
    return _pinned(with_neighbours(cases[i], neighbours, specs), device)


def _pinned(case: PreparedCase, device: torch.device) -> PreparedCase:
    """In page-locked memory, from which a GPU copies without the CPU waiting."""
    return _map_tensors(case, lambda x: x.pin_memory()) if device.type == "cuda" else case


def _only_vectors(case: PreparedCase) -> bool:
    return all(len(bag.values) == 1 for bag in case.bags.values())


def _map_tensors(case: PreparedCase, change: Callable[[Tensor], Tensor]) -> PreparedCase:
    def changed(bag: PreparedBag) -> PreparedBag:
        coords = None if bag.coords is None else change(bag.coords)
        return replace(bag, values=change(bag.values), coords=coords)

    return replace(case, bags={name: changed(bag) for name, bag in case.bags.items()})
