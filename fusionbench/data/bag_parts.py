"""What training sees of a case: the instances drawn from its bags, their order, and who their neighbours are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from fusionbench.core.errors import DataError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.seeds import derive
from fusionbench.core.types import ModalitySpec, PreparedBag, PreparedCase


def drawn(case: PreparedCase, recipe: TrainRecipe, seed: int, epoch: int) -> PreparedCase:
    """The case with at most `max_instances` of each bag, in the order that the recipe says; for training only.

    Tokens of a preparation are no instances: each stands for something by its position, and all of them stay.

    Which ones, and their order, depends on seed, epoch, case and modality: not on the order of cases, on other bags, or
    on where the cell runs.
    """
    most, shuffled = recipe.max_instances, recipe.instance_order == "shuffled"
    if most is None and not shuffled:
        return case
    bags = {}
    for name, bag in case.bags.items():
        bags[name] = bag
        if bag.tokens:
            continue
        # A grid keeps its order: that is where its instances lie.
        shuffle = shuffled and bag.shape is None and len(bag.values) > 1
        most_of_bag = len(bag.values) if most is None else most
        if shuffle or len(bag.values) > most_of_bag:
            generator = torch.Generator().manual_seed(derive(seed, "instances", epoch, case.id, name))
            bags[name] = subsample(bag, most_of_bag, generator, shuffled=shuffle)
    return PreparedCase(case.id, bags)


def subsample(bag: PreparedBag, n: int, generator: torch.Generator, *, shuffled: bool = False) -> PreparedBag:
    """At most `n` instances of a bag, drawn without replacement, in their order or as they were drawn.

    All that a bag has of each instance is subsampled with it, but neighbours, which are other ones in a smaller bag. A
    grid without coords gets them, so that positions are known; its `shape` stays the full extent.
    """
    length = len(bag.values)
    if length <= n and not shuffled:
        return bag
    keep = torch.randperm(length, generator=generator)[:n]
    if not shuffled:
        keep = keep.sort().values  # so that the order of instances stays the one of the file
    coords = grid_index(bag.shape) if bag.coords is None and bag.shape is not None else bag.coords
    piece = None if bag.piece is None else bag.piece[keep]
    return PreparedBag(bag.values[keep], None if coords is None else coords[keep], bag.shape, piece)


def with_neighbours(case: PreparedCase, k: int, specs: Mapping[str, ModalitySpec]) -> PreparedCase:
    """The case with the `k` nearest neighbours of each instance of its bags and grids, as far as it lacks them.

    They are the nearest among the instances that the case has here: of a bag that was subsampled, among those drawn.

    Raises:
        DataError: a bag has no coords.
    """
    if not k:
        return case
    bags = {name: _with_neighbours(bag, k, specs[name], case.id) for name, bag in case.bags.items()}
    return replace(case, bags=bags)


def _with_neighbours(bag: PreparedBag, k: int, spec: ModalitySpec, case: str) -> PreparedBag:
    if spec.kind == "vector" or bag.tokens or bag.neighbours is not None:
        return bag
    from fusionbench.nn.neighbours import nearest_instances  # here: scipy is loaded for who asks alone

    coords = grid_index(bag.shape) if bag.coords is None and bag.shape is not None else bag.coords
    if coords is None:
        raise DataError(
            f"modality {spec.name!r} of case {case!r}: this model needs neighbours, and the features have no coords; "
            "extract them with `coords`, as `fusionbench slides` writes them, or take another model"
        )
    piece = None if bag.piece is None else bag.piece.numpy()
    return replace(bag, neighbours=torch.from_numpy(nearest_instances(coords.cpu().numpy(), k, piece)))


def grid_index(shape: Sequence[int]) -> Tensor:
    """(instance, axis) row-major index along each axis."""
    index = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
    return torch.stack(index, dim=-1).reshape(-1, len(shape))
