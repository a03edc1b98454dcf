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
from torch.nn.utils.rnn import pad_sequence

from fusionbench.core.errors import DataError
from fusionbench.core.timing import COLLATE, span
from fusionbench.core.types import NO_NEIGHBOUR, Bag, Batch, ModalitySpec, PreparedBag, PreparedCase, Targets
from fusionbench.data.bag_parts import grid_index, with_neighbours

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
    counts = torch.tensor(lengths, dtype=torch.int64)
    known = counts.nonzero().flatten()
    shape = None
    if spec.kind == "grid":
        extents = torch.tensor([(0,) * spec.axes if bag is None or bag.shape is None else bag.shape for bag in bags])
        shape = _to_device(extents.reshape(len(cases), spec.axes), device)
    several = any(bag is not None and bag.piece is not None for bag in bags)
    piece = pad_sequence([_pieces(bag) for bag in bags], batch_first=True) if several else None
    return Bag(
        *(values, mask, coords, shape, known, counts),
        None if piece is None else _to_device(piece, device),
        _padded_neighbours([None if bag is None else bag.neighbours for bag in bags], values.shape[1], device),
    )


def _pieces(bag: PreparedBag | None) -> Tensor:
    if bag is None or bag.piece is None:
        return torch.zeros(0 if bag is None else len(bag.values), dtype=torch.int64)
    return bag.piece.cpu()


def _padded_neighbours(rows: Sequence[Tensor | None], longest: int, device: torch.device) -> Tensor | None:
    """(case, instance, k) with `NO_NEIGHBOUR` behind each case's instances; None where no case has neighbours."""
    given = [row for row in rows if row is not None]
    if not given:
        return None
    padded = torch.full((len(rows), longest, given[0].shape[1]), NO_NEIGHBOUR)
    for case, row in zip(padded, rows, strict=True):
        if row is not None:
            case[: len(row)] = row
    return _to_device(padded, device)


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
    return bag if bag.coords is not None else replace(bag, coords=grid_index(bag.shape))


def _tensors(targets: Targets[NDArray[Any]], device: torch.device) -> Targets[Tensor]:
    return targets.map(lambda array: _to_device(torch.tensor(array), device))


def _to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device, without waiting for it: a GPU may still compute the batch before."""
    return x.to(device, non_blocking=True)


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
    cases: Iterable[PreparedCase],
    specs: Mapping[str, ModalitySpec],
    batch_size: int,
    device: torch.device = CPU,
    *,
    neighbours: int = 0,
) -> Iterator[tuple[list[int], Batch]]:
    """Batches for evaluation, each with the positions of its cases; reads `cases` once and holds a few batches.

    Args:
        neighbours: of each instance, for a module that asks for them.
    """
    pool: list[PreparedCase] = []
    start = held = 0
    for case in (with_neighbours(case, neighbours, specs) for case in cases):
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
        k: Bag(
            *(chosen(b.values), chosen(b.mask), maybe(b.coords), maybe(b.shape), _known_rows(b, on_cpu)),
            *(None if b.counts is None else b.counts[on_cpu], maybe(b.piece), maybe(b.neighbours)),
        )
        for k, b in batch.bags.items()
    }
    targets = None if batch.targets is None else batch.targets.map(chosen)
    return Batch(tuple(batch.ids[i] for i in index), bags, targets, batch.seed)


def _known_rows(bag: Bag, index: Tensor) -> Tensor:
    """Positions within `index` of the cases that have the modality; on the CPU, as `Bag.rows`."""
    if bag.complete:
        return torch.arange(len(index))
    present = torch.zeros(len(bag.mask), dtype=torch.bool).index_fill(0, bag.rows, True)
    return present[index].nonzero().flatten()


def size(case: PreparedCase) -> int:
    """Bytes of a case's prepared values."""
    return sum(bag.values.nbytes for bag in case.bags.values())


def longest(case: PreparedCase) -> int:
    """Instances of a case's longest bag."""
    return max((len(bag.values) for bag in case.bags.values()), default=0)


def within(index: Sequence[int], tokens: Sequence[int], most: int) -> list[list[int]]:
    """The cases of a batch as smaller ones of at most `most` padded instances each, a longer case alone.

    Args:
        tokens: instances of the longest bag of each case there is.
    """
    # Cases of similar length stay together, so that little is padded.
    return _fill(sorted(index, key=tokens.__getitem__), tokens, len(index), most)
