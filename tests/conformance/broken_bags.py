"""Sound models that predict parts of cases, or read neighbours, and copies of them with one defect each."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fusionbench import NO_NEIGHBOUR, Bag, Batch, Outputs
from fusionbench.nn import Parts, masked_mean, squares, sub_bags
from tests.conformance.broken import Net, Sound, fails


class NetOfParts(Net):
    """The sound network on parts of at most three instances."""

    def forward(self, batch: Batch) -> Outputs:
        parts = self.parts(batch)
        return Outputs(super().forward(parts.batch), parts=parts.case)

    def parts(self, batch: Batch) -> Parts:
        return sub_bags(batch, 3)


class InParts(Sound):
    """Parts as they should be."""

    name = "in-parts"
    ordered_instances = True
    network = NetOfParts


class _DrawnGlobally(NetOfParts):
    def parts(self, batch: Batch) -> Parts:
        seed = int(torch.randint(1 << 30, ())) + len(batch.ids) if self.training else None
        return sub_bags(replace(batch, seed=seed), 3)


@fails("parts")
class DrawsGlobally(InParts):
    """In training, which instances go together depends on the batch."""

    network = _DrawnGlobally


class _DrawnOnce(NetOfParts):
    def parts(self, batch: Batch) -> Parts:
        return sub_bags(replace(batch, seed=None), 3)


@fails("parts")
class DrawsOnce(InParts):
    """The same parts in every epoch."""

    network = _DrawnOnce


class NetOfNeighbours(Net):
    """Each instance is the mean of itself and its nearest one, before the mean of all."""

    neighbours = 1

    def pool(self, bag: Bag) -> Tensor:
        if bag.neighbours is None:
            return super().pool(bag)
        near = bag.neighbours[..., 0]
        other = bag.values.gather(1, near.clamp(min=0).unsqueeze(-1).expand_as(bag.values))
        there = (near != NO_NEIGHBOUR).unsqueeze(-1)
        return masked_mean(torch.where(there, (bag.values + other) / 2, bag.values), bag.mask)


class Neighbourly(Sound):
    """Neighbours as they should be read."""

    name = "neighbourly"
    network = NetOfNeighbours


class _LeftOver(Net):
    neighbours = 2


@fails("neighbours-read")
class AsksForNeighboursInVain(Sound):
    """Asks for neighbours and looks at none."""

    network = _LeftOver


class NetOfSquares(Net):
    """The mean, and a bit of the diagonal of the square of a bag."""

    def pool(self, bag: Bag) -> Tensor:
        mean = super().pool(bag)
        if bag.values.shape[-1] != 8:
            return mean
        diagonal = torch.zeros_like(mean)
        for square in squares(bag.values, self.lengths(bag)):
            cells = square.values[:, :: square.side + 1].mean(dim=1)
            diagonal = diagonal.index_add(0, square.rows, cells)
        return mean + 0.1 * diagonal

    def lengths(self, bag: Bag) -> Tensor:
        return bag.lengths


class Square(Sound):
    """Squares as they should be laid out."""

    name = "square"
    ordered_instances = True
    network = NetOfSquares


class _PaddedSquares(NetOfSquares):
    def lengths(self, bag: Bag) -> Tensor:
        return torch.full_like(bag.lengths, bag.mask.shape[1]) * bag.present

    def pool(self, bag: Bag) -> Tensor:
        return super().pool(replace(bag, values=bag.values.masked_fill(~bag.mask.unsqueeze(-1), 0.0)))


@fails("padding-invariant")
class SquaresThePaddedLength(Square):
    """The side of a square is the root of the longest bag's length."""

    network = _PaddedSquares
