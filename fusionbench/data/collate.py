"""Batches from prepared cases: padding, masks, and which cases go together.

This is the only place where an absent modality becomes a mask. Padding is zeros under a False mask, behind the real
instances. A model's prediction must not depend on the position of a case in a batch or on its padding (conformance
checks test that), so cases may be sorted by length.
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
from fusionbench.core.types import Bag, Batch, ModalitySpec, PreparedBag, PreparedCase, Targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

CPU = torch.device("cpu")
POOL_BATCHES = 8
"""Batches whose cases are sorted by length together: more batches save padding, fewer leave batches more random."""
EVAL_BYTES = 1 << 28
"""Padded input of one evaluation batch: 256 MiB; long bags get smaller batches."""


def collate(
    cases: Sequence[PreparedCase],
    specs: Mapping[str, ModalitySpec],
    targets: Targets[NDArray[Any]] | None = None,
    device: torch.device = CPU,
) -> Batch:
    """One batch of the cases; every modality of `specs` is a key, absent ones are rows of all False.

    Grids always have coords: their own, or else the row-major index along each axis.

    Args:
        targets: of these cases, in their order.
        device: of the batch; the cases' tensors may be there or in the machine's memory.

    Raises:
        DataError: naming modality and case, if a bag does not have the declared width or has no instance.
    """
    bags = {name: _collate_bags(name, spec, cases, device) for name, spec in specs.items()}
    return Batch(tuple(case.id for case in cases), bags, None if targets is None else _tensors(targets, device))


def _collate_bags(name: str, spec: ModalitySpec, cases: Sequence[PreparedCase], device: torch.device) -> Bag:
    """One modality of the cases, padded to (case, instance, feature)."""
    bags = [_checked(case.bags[name], spec, name, case.id) if name in case.bags else None for case in cases]
    lengths = [0 if bag is None else bag.values.shape[0] for bag in bags]
    values = _padded([None if bag is None else bag.values for bag in bags], lengths, spec.dim, device)
    mask = _mask(lengths, values.shape[1], device)
    axes = {bag.coords.shape[1] for bag in bags if bag is not None and bag.coords is not None}
    if len(axes) > 1 or (axes and any(bag is not None and bag.coords is None for bag in bags)):
        ids = ", ".join(repr(case.id) for case in cases)
        raise DataError(f"modality {name!r}: coords of unequal kinds among the cases {ids}; give all of them or none")
    coords = (
        _padded([None if bag is None else bag.coords for bag in bags], lengths, axes.pop(), device) if axes else None
    )
    # Known on the CPU here; a model on a GPU would have to wait for it to look at the mask.
    known = torch.tensor([i for i, length in enumerate(lengths) if length], dtype=torch.int64)
    if spec.kind != "grid":
        return Bag(values, mask, coords, known=known)
    shape = torch.tensor([(0,) * spec.axes if bag is None or bag.shape is None else bag.shape for bag in bags])
    return Bag(values, mask, coords, _to_device(shape.reshape(len(cases), spec.axes), device), known)


def _mask(lengths: Sequence[int], longest: int, device: torch.device) -> Tensor:
    """(case, instance) bool, True = real."""
    if min(lengths, default=0) == longest:  # the usual case of vectors: made on the device, nothing is copied
        return torch.ones(len(lengths), longest, dtype=torch.bool, device=device)
    return _to_device(torch.arange(longest) < torch.tensor(lengths).unsqueeze(1), device)


def _padded(rows: Sequence[Tensor | None], lengths: Sequence[int], width: int, device: torch.device) -> Tensor:
    """(case, instance, width) float32 with zeros behind each case's instances.

    Args:
        rows: (instance, width) of each case, None where it has none.
        lengths: instances of each case.
    """
    longest = max([1, *lengths])  # one instance of padding where no case has the modality: no empty tensors in models
    # Empty, not zeros: every number is written once.
    padded = torch.empty(len(rows), longest, width, device=device)
    if device == CPU and min(lengths, default=0) == longest:
        # One call where nothing is padded, instead of one per case.
        return torch.stack([row for row in rows if row is not None], out=padded)
    for case, row, length in zip(padded, rows, lengths, strict=True):
        if row is not None:
            case[:length].copy_(row, non_blocking=True)
        if length < longest:
            case[length:].zero_()
    return padded


def _checked(bag: PreparedBag, spec: ModalitySpec, name: str, case: str) -> PreparedBag:
    """The bag with the declared width and at least one instance; a grid with coords.

    Raises:
        DataError: the bag does not fit its spec.
    """
    shape = bag.values.shape
    if len(shape) == 2 and shape[0] and shape[1] == spec.dim and bag.coords is None and spec.kind != "grid":
        return bag  # by far the most frequent case, without writing its name
    where = f"modality {name!r} of case {case!r}"
    if len(shape) != 2 or shape[1] != spec.dim:
        raise DataError(f"{where}: values have shape {tuple(shape)}, expected (instance, {spec.dim})")
    if shape[0] == 0:
        raise DataError(f"{where}: the bag has no instance; leave the modality out of the case instead")
    if bag.coords is not None and (bag.coords.ndim != 2 or len(bag.coords) != shape[0]):
        raise DataError(f"{where}: coords have shape {tuple(bag.coords.shape)} for {shape[0]} instances")
    return _with_coords(bag, spec.axes, where) if spec.kind == "grid" else bag


def _with_coords(bag: PreparedBag, axes: int, where: str) -> PreparedBag:
    """A grid with coords: its own, or its index along each axis."""
    if bag.shape is None or len(bag.shape) != axes:
        raise DataError(f"{where}: a grid of {axes} axes needs its extent along each, got {bag.shape}")
    if bag.coords is None and math.prod(bag.shape) != len(bag.values):
        raise DataError(f"{where}: {len(bag.values)} instances do not fill a grid of {bag.shape}")
    return bag if bag.coords is not None else replace(bag, coords=_grid_index(bag.shape))


def _grid_index(shape: Sequence[int]) -> Tensor:
    """(instance, axis) row-major index along each axis."""
    index = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return torch.stack(index, dim=-1).reshape(-1, len(shape))


def _tensors(targets: Targets[NDArray[Any]], device: torch.device) -> Targets[Tensor]:
    return targets.map(lambda array: _to_device(torch.tensor(array), device))


def _to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device, without waiting for it: a GPU may still compute the batch before."""
    return x.to(device, non_blocking=True)


def subsample(bag: PreparedBag, n: int, generator: torch.Generator) -> PreparedBag:
    """At most `n` instances of a bag, drawn without replacement and kept in order; for training only.

    Coords are subsampled with their instances. A grid without coords gets them, so that positions are known; its
    `shape` stays the full extent.
    """
    length = len(bag.values)
    if length <= n:
        return bag
    # Sorted, so that the order of instances stays the one of the file.
    keep = torch.randperm(length, generator=generator)[:n].sort().values
    coords = _grid_index(bag.shape) if bag.coords is None and bag.shape is not None else bag.coords
    return PreparedBag(bag.values[keep], None if coords is None else coords[keep], bag.shape)


def batches(
    lengths: Sequence[int], batch_size: int, generator: torch.Generator | None = None, *, limit: int | None = None
) -> list[list[int]]:
    """Positions of the cases of each batch; cases of similar length go together so that little is padded.

    Args:
        lengths: (case,) size of each case, in any unit.
        batch_size: cases of each batch; the last one formed has the remaining ones.
        generator: of training: the cases are shuffled, sorted within pools of a few batches, and the batches are
            shuffled. None sorts all cases (evaluation).
        limit: largest padded size of a batch (cases x longest); a single case may exceed it. Evaluation only, since it
            makes smaller batches.
    """
    count = len(lengths)
    if generator is None:
        return _fill(sorted(range(count), key=lengths.__getitem__), lengths, batch_size, limit)
    order = torch.randperm(count, generator=generator).tolist()
    pool = POOL_BATCHES * batch_size
    pools = (sorted(order[i : i + pool], key=lengths.__getitem__) for i in range(0, count, pool))
    # Shuffled again: otherwise every pool would go from short to long bags.
    formed = [batch for part in pools for batch in _fill(part, lengths, batch_size, limit)]
    return [formed[i] for i in torch.randperm(len(formed), generator=generator).tolist()]


def _fill(order: Sequence[int], lengths: Sequence[int], batch_size: int, limit: int | None) -> list[list[int]]:
    """Cases in `order`, ascending in length within a pool, as batches of at most `batch_size`; see `batches`."""
    formed: list[list[int]] = []
    for i in order:
        # In ascending order the new case is the longest: it decides how far the others are padded.
        full = not formed or len(formed[-1]) == batch_size
        if full or (limit is not None and (len(formed[-1]) + 1) * lengths[i] > limit):
            formed.append([])
        formed[-1].append(i)
    return formed


def stream(
    cases: Iterable[PreparedCase], specs: Mapping[str, ModalitySpec], batch_size: int, device: torch.device = CPU
) -> Iterator[tuple[list[int], Batch]]:
    """Batches for evaluation, each with the positions of its cases; reads `cases` once and holds a few batches."""
    pool: list[PreparedCase] = []
    start = held = 0
    for case in cases:
        pool.append(case)
        held += size(case)
        # By number and by size: a pool of whole slides would otherwise take gigabytes.
        if len(pool) == POOL_BATCHES * batch_size or held > POOL_BATCHES * EVAL_BYTES:
            yield from _pool_batches(pool, start, specs, batch_size, device)
            start, held, pool = start + len(pool), 0, []
    yield from _pool_batches(pool, start, specs, batch_size, device)


def _pool_batches(
    pool: Sequence[PreparedCase], start: int, specs: Mapping[str, ModalitySpec], batch_size: int, device: torch.device
) -> Iterator[tuple[list[int], Batch]]:
    for index in batches([size(case) for case in pool], batch_size, limit=EVAL_BYTES):
        with span(COLLATE):
            batch = collate([pool[i] for i in index], specs, device=device)
        yield [start + i for i in index], batch


def select(batch: Batch, index: Sequence[int]) -> Batch:
    """The cases of `batch` at `index`, in that order."""
    on_cpu = torch.tensor(index, dtype=torch.int64)
    rows = _to_device(on_cpu, next((bag.mask.device for bag in batch.bags.values()), CPU))

    def chosen(x: Tensor) -> Tensor:
        return x.index_select(0, rows)

    def maybe(x: Tensor | None) -> Tensor | None:
        return None if x is None else chosen(x)

    bags = {
        k: Bag(chosen(b.values), chosen(b.mask), maybe(b.coords), maybe(b.shape), _known_rows(b, on_cpu))
        for k, b in batch.bags.items()
    }
    targets = None if batch.targets is None else batch.targets.map(chosen)
    return Batch(tuple(batch.ids[i] for i in index), bags, targets)


def _known_rows(bag: Bag, index: Tensor) -> Tensor:
    """Positions within `index` of the cases that have the modality; on the CPU, as `Bag.rows`."""
    if bag.complete:
        return torch.arange(len(index))
    present = torch.zeros(len(bag.mask), dtype=torch.bool).index_fill(0, bag.rows, True)
    return present[index].nonzero().flatten()


def size(case: PreparedCase) -> int:
    """Bytes of a case's prepared values."""
    return sum(bag.values.nbytes for bag in case.bags.values())
