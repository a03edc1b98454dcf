"""Several sub-bags a case, drawn anew in each epoch of training and always the same for prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fusionbench.core.seeds import derive
from fusionbench.core.types import NO_NEIGHBOUR, Bag, Batch
from fusionbench.nn.neighbours import nearest_instances
from fusionbench.tasks.parts import mean_of_parts, parts_beside


def case_generator(batch: Batch, i: int, purpose: str) -> torch.Generator:
    """Random numbers, on the CPU, for what a module draws for the case at `i`.

    In training they depend on the cell's seed, the epoch and the case's id. At validation and prediction they are the
    same for every case, so that a prediction is the same each time, whatever a case is called. Who else is in the
    batch, its order, workers and executors change nothing.
    """
    seed = derive(0, purpose) if batch.seed is None else derive(batch.seed, purpose, batch.ids[i])
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True, eq=False)
class Parts:
    """The sub-bags of the cases of a batch.

    Attributes:
        batch: the parts side by side, as if each were a case.
        case: (part,) int64, ascending, the position of the case of each part: `Outputs.parts`.
        of: the batch of cases that was cut.
        positions: modality that was cut to (part, instance) int64, where in its case's bag each instance stands, 0
            where padded.
    """

    batch: Batch
    case: Tensor
    of: Batch
    positions: Mapping[str, Tensor]

    def mean(self, values: Tensor) -> Tensor:
        """(part, ...) -> (case, ...): the mean over the parts of each case, such as of logits."""
        return mean_of_parts(values, self.case, len(self.of.ids))

    def attention(self, name: str, weights: Tensor) -> Tensor:
        """(part, layer, head, item) -> (case, layer, head, item): weights on parts as weights on the bags of the cases.

        The mean over the parts, so that a row that sums to 1 in each part sums to 1; instances in no part have 0.

        Args:
            weights: zero where padded.
        """
        if name not in self.positions:
            return self.mean(weights)
        items = weights.movedim(-1, 1)  # (part, item, layer, head)
        whole = items.new_zeros(len(self.of.ids), self.of.bags[name].mask.shape[1], *items.shape[2:])
        share = items / parts_beside(self.case).reshape(-1, 1, 1, 1)
        at = self.case.unsqueeze(1).expand_as(self.positions[name]), self.positions[name]
        return whole.index_put(at, share, accumulate=True).movedim(1, -1)


def sub_bags(batch: Batch, size: int, *, count: int | None = None, names: Sequence[str] | None = None) -> Parts:
    """The batch with each case cut into parts.

    Without `count` the parts are a partition: every instance is in one part, and there are as few parts of nearly equal
    length as have at most `size` instances (MOTCat's micro-batches). With it there are `count` draws of `size`
    instances, each without replacement, a shorter bag as a whole (PIBD's subsets). A part keeps the order of its
    instances, and all that belongs to each. Neighbours are those within the part. Modalities that are not cut are the
    same in each part of a case; of several that are cut, the shorter ones begin again where they have fewer parts.

    Which instances go together depends on the case and the epoch, at prediction on the length of the bag alone
    (`case_generator`): there a partition covers all instances, and `count` draws are the same ones each time. A model
    whose bags are longer than `size` reads their order in this way: it sets `ordered_instances = True`.

    Args:
        size: most instances of a part.
        names: modalities that are cut; all but grids where not given (a vector, of one instance, stays whole).

    Raises:
        ValueError: `size` or `count` is less than 1.
    """
    if size < 1 or (count is not None and count < 1):
        raise ValueError(f"sub_bags: size is {size} and count {count}; both count from 1")
    chosen = [name for name, bag in batch.bags.items() if bag.shape is None] if names is None else list(names)
    lengths = {name: batch.bags[name].lengths.tolist() for name in chosen}
    drawn: dict[str, list[Tensor]] = {name: [] for name in chosen}
    owners: list[int] = []
    for i in range(len(batch.ids)):
        parts = count or max([1, *(-(-lengths[name][i] // size) for name in chosen)])
        owners += [i] * parts
        for name in chosen:
            generator = case_generator(batch, i, f"sub-bags of {name}")
            drawn[name] += _parts(lengths[name][i], parts, size if count else None, generator)
    owner = torch.tensor(owners)
    counts = {name: torch.tensor([len(own) for own in drawn[name]]) for name in chosen}
    at = {name: _index(drawn[name]).to(batch.bags[name].mask.device) for name in chosen}
    bags = {n: _cut(b, owner, at[n], counts[n]) if n in at else _repeated(b, owner) for n, b in batch.bags.items()}
    on_device = owner.to(next(iter(bags.values())).mask.device)
    targets = None if batch.targets is None else batch.targets.map(lambda array: array[on_device])
    made = replace(batch, ids=tuple(batch.ids[i] for i in owners), bags=bags, targets=targets)
    return Parts(made, on_device, batch, at)


def _index(positions: Sequence[Tensor]) -> Tensor:
    """(part, instance) int64, at least one instance wide, 0 where padded."""
    index = torch.nn.utils.rnn.pad_sequence(list(positions), batch_first=True)
    return index if index.shape[1] else index.new_zeros(len(index), 1)


def _parts(length: int, parts: int, size: int | None, generator: torch.Generator) -> list[Tensor]:
    """Positions of the instances of each part: `size` drawn for each, or a partition where that is None."""
    if size is not None:
        return [torch.randperm(length, generator=generator)[:size].sort().values for _ in range(parts)]
    pieces = min(parts, max(length, 1))
    split = torch.randperm(length, generator=generator).tensor_split(pieces)
    return [split[part % pieces].sort().values for part in range(parts)]


def _cut(bag: Bag, owner: Tensor, index: Tensor, counts: Tensor) -> Bag:
    """The bag of each part, (part, instance, ...).

    Args:
        index: (part, instance) positions of the instances in the bag of their case.
        counts: (part,) how many of them there are, on the CPU as `owner`.
    """
    mask = (torch.arange(index.shape[1]) < counts.unsqueeze(1)).to(bag.mask.device)
    at = owner.to(bag.mask.device).unsqueeze(1), index

    def taken(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[at].masked_fill(~mask.reshape(*mask.shape, *(1,) * (x.ndim - 2)), 0)

    values = taken(bag.values)
    assert values is not None
    cut = Bag(
        *(values, mask, taken(bag.coords), None, counts.nonzero().flatten(), counts),
        piece=taken(bag.piece),
    )
    return cut if bag.neighbours is None else replace(cut, neighbours=_neighbours(cut, bag.neighbours))


def _neighbours(cut: Bag, before: Tensor) -> Tensor:
    """(part, instance, k) neighbours within each part."""
    found = torch.full((*cut.mask.shape, before.shape[2]), NO_NEIGHBOUR)
    for i, n in enumerate(cut.lengths.tolist()):
        if n and cut.coords is not None:
            piece = None if cut.piece is None else cut.piece[i, :n].cpu().numpy()
            near = nearest_instances(cut.coords[i, :n].cpu().numpy(), before.shape[2], piece)
            found[i, :n] = torch.from_numpy(near)
    return found.to(before.device)


def _repeated(bag: Bag, owner: Tensor) -> Bag:
    """The bag of its case for each part."""
    at = owner.to(bag.mask.device)

    def maybe(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[at]

    counts = bag.lengths[owner]
    return Bag(
        *(bag.values[at], bag.mask[at], maybe(bag.coords), maybe(bag.shape), counts.nonzero().flatten(), counts),
        *(maybe(bag.piece), maybe(bag.neighbours)),
    )
