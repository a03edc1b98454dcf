"""Bags one by one: without their padding, laid out as squares, or as a coarse grid of their coords.

What a padded batch makes of a bag must not depend on the longest one beside it. Models whose mathematics needs the
length of a bag, or a layout of it, take it from here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fusionbench.core.errors import DataError
from fusionbench.core.types import Bag


def unpadded(bag: Bag) -> Iterator[tuple[int, Bag]]:
    """Each case that has the modality, by its position, as a bag of this case alone, without padding."""
    lengths = bag.lengths.tolist()
    for i in bag.rows.tolist():
        yield i, _alone(bag, i, lengths[i])


def _alone(bag: Bag, i: int, n: int) -> Bag:
    def cut(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[i : i + 1, :n]

    return Bag(
        values=bag.values[i : i + 1, :n],
        mask=bag.mask[i : i + 1, :n],
        coords=cut(bag.coords),
        shape=None if bag.shape is None else bag.shape[i : i + 1],
        known=torch.zeros(1, dtype=torch.int64),
        counts=torch.tensor([n]),
        piece=cut(bag.piece),
        neighbours=cut(bag.neighbours),
    )


@dataclass(frozen=True, eq=False)
class Squares:
    """The bags of a batch that fill squares of one side.

    Attributes:
        rows: (row,) int64, positions of the cases.
        side: of the square, the root of the number of instances, rounded up.
        values: (row, side * side, feature), the square row by row: the instances, then the first ones once more.
    """

    rows: Tensor
    side: int
    values: Tensor


def squares(values: Tensor, lengths: Tensor) -> list[Squares]:
    """Each bag as the smallest square that holds it, as TransMIL lays it out; bags of one side go together.

    No instance of padding is in it, so that a case is laid out in a batch as it is alone.

    Args:
        values: (case, instance, feature), such as the embedded instances of a bag.
        lengths: (case,) int64 on the CPU, `Bag.lengths`; cases without the modality are in no square.

    Source: Shao et al. 2021, "squaring of sequence".
    """
    sides = [math.isqrt(n - 1) + 1 if n else 0 for n in lengths.tolist()]
    made = []
    for side in sorted(set(sides) - {0}):
        rows = torch.tensor([i for i, own in enumerate(sides) if own == side])
        cells = torch.arange(side * side)
        own = lengths[rows].unsqueeze(1)
        # (row, cell): the cells behind the n instances repeat the first ones.
        index = torch.where(cells < own, cells, cells - own).to(values.device)
        of = rows.to(values.device)
        made.append(Squares(of, side, values[of.unsqueeze(1), index]))
    return made


def coarse_grid(bag: Bag, side: int) -> tuple[Tensor, Tensor]:
    """A bag with coords as a grid as well: the mean of the instances in each of its cells.

    The cells are squares (cubes). `side` of them span the longest extent of a case's coords, and the coords begin in
    the first one. Several slides of a case each begin there: they are laid one over the other, at one scale.

    Returns:
        (case, cell, ..., feature) with an axis of `side` cells for each axis of the coords, in their order, 0 where no
        instance lies, and (case, cell, ...) bool, True where one does.

    Raises:
        DataError: the bag has no coords.
    """
    if bag.coords is None:
        raise DataError("a grid of a bag needs coords, and the features have none; extract them with `coords`")
    axes = bag.coords.shape[2]
    values = bag.values.new_zeros(len(bag.mask), side**axes, bag.values.shape[2])
    filled = torch.zeros(len(bag.mask), side**axes, dtype=torch.bool, device=bag.mask.device)
    for i, own in unpadded(bag):
        cell = _cells(own, side)
        count = torch.zeros(side**axes, device=cell.device).index_add(0, cell, torch.ones_like(cell, dtype=torch.float))
        total = values[i].index_add(0, cell, own.values[0])
        values[i], filled[i] = total / count.clamp(min=1).unsqueeze(1).to(total), count > 0
    shape = (len(bag.mask), *(side,) * axes)
    return values.reshape(*shape, -1), filled.reshape(shape)


def _cells(own: Bag, side: int) -> Tensor:
    """(instance,) row-major number of the cell that each instance of one case lies in."""
    assert own.coords is not None
    at = own.coords[0].double()
    piece = torch.zeros(len(at), dtype=torch.int64, device=at.device) if own.piece is None else own.piece[0]
    start = at.new_zeros(int(piece.max()) + 1, at.shape[1])
    for number in set(piece.tolist()):  # of a bag that was cut, a slide may have no instance left
        start[number] = at[piece == number].amin(dim=0)
    moved = at - start[piece]
    # The farthest instance lies in the last cell, not behind it.
    index = (moved / moved.max().clamp(min=torch.finfo(moved.dtype).tiny) * side).long().clamp(max=side - 1)
    cell = torch.zeros(len(at), dtype=torch.int64, device=at.device)
    for axis in range(index.shape[1]):
        cell = cell * side + index[:, axis]
    return cell
