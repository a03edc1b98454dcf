"""From prepared cases to batches: the ONE place where an absent modality becomes a mask.

Padding is zeros under a False mask, behind the real instances. Where a bag ends up in a batch, and how far it is
padded, must not change what a model says of it; so length bucketing is free to choose.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fusionbench.core.errors import DataError
from fusionbench.core.timing import COLLATE, span
from fusionbench.core.types import Bag, Batch, ModalitySpec, PreparedBag, PreparedCase, SurvivalTargets

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU = torch.device("cpu")
POOL_BATCHES = 8
"""Batches sorted by length together; more saves padding, less leaves more to chance."""
EVAL_BYTES = 1 << 28
"""Padded input of one evaluation batch: 256 MiB; longer bags go in smaller batches."""


def collate(
    cases: Sequence[PreparedCase],
    specs: Mapping[str, ModalitySpec],
    targets: SurvivalTargets[NDArray[Any]] | None = None,
    device: torch.device = CPU,
) -> Batch:
    """Put cases side by side; every modality of `specs` is a key, absent ones are rows of all False.

    Grids always carry coords: their own, or else the row-major index along each axis.

    Args:
        targets: of these cases, in their order.
        device: where the batch is put together; cases may lie there or in the machine's memory.

    Raises:
        DataError: naming modality and case, if a bag does not have the declared width or has no instance.
    """
    bags = {name: _side_by_side(name, spec, cases, device) for name, spec in specs.items()}
    return Batch(tuple(case.id for case in cases), bags, None if targets is None else _tensors(targets, device))


def _side_by_side(name: str, spec: ModalitySpec, cases: Sequence[PreparedCase], device: torch.device) -> Bag:
    found = [_checked(case.bags[name], spec, name, case.id) if name in case.bags else None for case in cases]
    lengths = [0 if bag is None else bag.values.shape[0] for bag in found]
    values = _padded([None if bag is None else bag.values for bag in found], lengths, spec.dim, device)
    mask = _mask(lengths, values.shape[1], device)
    axes = {bag.coords.shape[1] for bag in found if bag is not None and bag.coords is not None}
    if len(axes) > 1 or (axes and any(bag is not None and bag.coords is None for bag in found)):
        ids = ", ".join(repr(case.id) for case in cases)
        raise DataError(f"modality {name!r}: coords of unequal kinds among the cases {ids}; give all of them or none")
    coords = (
        _padded([None if bag is None else bag.coords for bag in found], lengths, axes.pop(), device) if axes else None
    )
    known = torch.tensor([i for i, length in enumerate(lengths) if length], dtype=torch.int64)
    if spec.kind != "grid":
        return Bag(values, mask, coords, known=known)
    shape = torch.tensor([(0,) * spec.axes if bag is None or bag.shape is None else bag.shape for bag in found])
    return Bag(values, mask, coords, _sent(shape.reshape(len(cases), spec.axes), device), known)


def _mask(lengths: Sequence[int], longest: int, device: torch.device) -> Tensor:
    """(case, instance) bool, True = real."""
    if min(lengths, default=0) == longest:
        return torch.ones(len(lengths), longest, dtype=torch.bool, device=device)
    return _sent(torch.arange(longest) < torch.tensor(lengths).unsqueeze(1), device)


def _padded(rows: Sequence[Tensor | None], lengths: Sequence[int], width: int, device: torch.device) -> Tensor:
    """(case, instance, width) float32, at least one instance wide; every number is written once.

    Args:
        rows: (instance, width) of each case, None where it has none.
        lengths: instances of each case.
    """
    longest = max([1, *lengths])
    padded = torch.empty(len(rows), longest, width, device=device)
    if device == CPU and min(lengths, default=0) == longest:
        return torch.stack([row for row in rows if row is not None], out=padded)
    for case, row, length in zip(padded, rows, lengths, strict=True):
        if row is not None:
            case[:length].copy_(row, non_blocking=True)
        if length < longest:
            case[length:].zero_()
    return padded


def _checked(bag: PreparedBag, spec: ModalitySpec, name: str, case: str) -> PreparedBag:
    seen = bag.values.shape
    if len(seen) == 2 and seen[0] and seen[1] == spec.dim and bag.coords is None and spec.kind != "grid":
        return bag
    where = f"modality {name!r} of case {case!r}"
    if len(seen) != 2 or seen[1] != spec.dim:
        raise DataError(f"{where}: values have shape {tuple(seen)}, expected (instance, {spec.dim})")
    if seen[0] == 0:
        raise DataError(f"{where}: the bag has no instance; leave the modality out of the case instead")
    if bag.coords is not None and (bag.coords.ndim != 2 or len(bag.coords) != seen[0]):
        raise DataError(f"{where}: coords have shape {tuple(bag.coords.shape)} for {seen[0]} instances")
    return _located(bag, spec.axes, where) if spec.kind == "grid" else bag


def _located(bag: PreparedBag, axes: int, where: str) -> PreparedBag:
    """A grid with coords."""
    if bag.shape is None or len(bag.shape) != axes:
        raise DataError(f"{where}: a grid of {axes} axes needs its extent along each, got {bag.shape}")
    if bag.coords is None and math.prod(bag.shape) != len(bag.values):
        raise DataError(f"{where}: {len(bag.values)} instances do not fill a grid of {bag.shape}")
    return bag if bag.coords is not None else replace(bag, coords=_grid_index(bag.shape))


def _grid_index(shape: Sequence[int]) -> Tensor:
    """(instance, axis) row-major index along each axis."""
    index = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return torch.stack(index, dim=-1).reshape(-1, len(shape))


def _tensors(targets: SurvivalTargets[NDArray[Any]], device: torch.device) -> SurvivalTargets[Tensor]:
    return SurvivalTargets(*(_sent(torch.tensor(x), device) for x in (targets.time, targets.event, targets.time_bin)))


def _sent(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device, which is not waited for: it may still compute with the batch before."""
    return x.to(device, non_blocking=True)


def subsample(bag: PreparedBag, n: int, generator: torch.Generator) -> PreparedBag:
    """At most `n` instances, drawn without replacement and kept in order; for training only.

    Coords stay with their instances, and a grid gets coords, so positions survive; `shape` stays the full extent.
    """
    length = len(bag.values)
    if length <= n:
        return bag
    keep = torch.randperm(length, generator=generator)[:n].sort().values
    coords = _grid_index(bag.shape) if bag.coords is None and bag.shape is not None else bag.coords
    return PreparedBag(bag.values[keep], None if coords is None else coords[keep], bag.shape)


def batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator | None = None, *, limit: int | None = None
) -> list[list[int]]:
    """Positions of the cases of each batch; cases of like length go together so that little is padded.

    Args:
        lengths: (case,) size of each case, in any unit.
        batch_size: all batches have it but the last one formed, which takes what is left.
        generator: shuffles the cases, then sorts within pools of a few batches, then shuffles the batches; None sorts
            all cases (evaluation).
        limit: largest padded size of a batch (cases x longest); a single case may exceed it. Evaluation only, since it
            makes smaller batches.
    """
    count = len(lengths)
    if generator is None:
        return _fill(sorted(range(count), key=lengths.__getitem__), lengths, batch_size, limit)
    order = torch.randperm(count, generator=generator).tolist()
    pool = POOL_BATCHES * batch_size
    pools = (sorted(order[i : i + pool], key=lengths.__getitem__) for i in range(0, count, pool))
    formed = [batch for part in pools for batch in _fill(part, lengths, batch_size, limit)]
    return [formed[i] for i in torch.randperm(len(formed), generator=generator).tolist()]


def _fill(order: Sequence[int], lengths: Sequence[int], batch_size: int, limit: int | None) -> list[list[int]]:
    formed: list[list[int]] = []
    for i in order:
        full = not formed or len(formed[-1]) == batch_size
        if full or (limit is not None and (len(formed[-1]) + 1) * lengths[i] > limit):
            formed.append([])
        formed[-1].append(i)
    return formed


def stream(
    cases: Iterable[PreparedCase], specs: Mapping[str, ModalitySpec], batch_size: int, device: torch.device = CPU
) -> Iterator[tuple[list[int], Batch]]:
    """Batches for evaluation, each with the positions of its cases; prepares each case once, holds a few batches."""
    pool: list[PreparedCase] = []
    start = held = 0
    for case in cases:
        pool.append(case)
        held += size(case)
        if len(pool) == POOL_BATCHES * batch_size or held > POOL_BATCHES * EVAL_BYTES:
            yield from _pooled(pool, start, specs, batch_size, device)
            start, held, pool = start + len(pool), 0, []
    yield from _pooled(pool, start, specs, batch_size, device)


def _pooled(
    pool: Sequence[PreparedCase], start: int, specs: Mapping[str, ModalitySpec], batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    for index in batches([size(case) for case in pool], batch_size, limit=EVAL_BYTES):
        with span(COLLATE):
            batch = collate([pool[i] for i in index], specs, device=device)
        yield [start + i for i in index], batch


def select(batch: Batch, index: Sequence[int]) -> Batch:
    """The cases of `batch` at `index`, in that order."""
    here = torch.tensor(index, dtype=torch.int64)
    rows = _sent(here, next((bag.mask.device for bag in batch.bags.values()), CPU))

    def of(x: Tensor) -> Tensor:
        return x.index_select(0, rows)

    def maybe(x: Tensor | None) -> Tensor | None:
        return None if x is None else of(x)

    bags = {
        k: Bag(of(b.values), of(b.mask), maybe(b.coords), maybe(b.shape), _rows_of(b, here))
        for k, b in batch.bags.items()
    }
    t = batch.targets
    targets = None if t is None else SurvivalTargets(of(t.time), of(t.event), of(t.time_bin))
    return Batch(tuple(batch.ids[i] for i in index), bags, targets)


def _rows_of(bag: Bag, index: Tensor) -> Tensor:
    """Of the cases at `index`, the positions of those that have the modality."""
    if bag.complete:
        return torch.arange(len(index))
    there = torch.zeros(len(bag.mask), dtype=torch.bool).index_fill(0, bag.rows, True)
    return there[index].nonzero().flatten()


def size(case: PreparedCase) -> int:
    """Bytes of the prepared values."""
    return sum(bag.values.nbytes for bag in case.bags.values())
