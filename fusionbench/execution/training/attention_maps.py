"""What a module says of where it looks: shapes held against a batch, and batches joined to all cases."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from fusionbench.core.attention_map import AttentionMap
from fusionbench.core.errors import PluginError
from fusionbench.core.types import Batch
from fusionbench.execution.training.outputs import name_of

Parts = Mapping[str, Mapping[str, tuple[int, ...]]]


def maps_of(module: nn.Module, batches: Iterable[tuple[list[int], Batch]]) -> dict[str, AttentionMap]:
    """The maps that a module's `attention_maps` gives, on the CPU, of all cases in their order.

    Args:
        batches: each with the positions of its cases.

    Raises:
        PluginError: a map has another shape than it says, or is of a modality that is not there; or a batch has other
            maps than the one before.
    """
    order: list[int] = []
    found: list[dict[str, AttentionMap]] = []
    for positions, batch in batches:
        found.append({name: _checked(name, one, batch, module) for name, one in module.attention_maps(batch).items()})  # type: ignore[operator]
        if found[-1].keys() != found[0].keys():
            raise PluginError(f"{name_of(module)}: a batch has the maps {[*found[-1]]}, one before {[*found[0]]}")
        order += positions
    place = torch.tensor(order).argsort()
    return {name: _joined([of[name] for of in found], place) for name in (found[0] if found else {})}


def _checked(name: str, one: AttentionMap, batch: Batch, module: nn.Module) -> AttentionMap:
    """The map in float32 on the CPU, items and queries that are parts with their names."""
    who = f"{name_of(module)}: attention map {name!r}"
    if not isinstance(one, AttentionMap):
        raise PluginError(f"{who} is {type(one).__name__}, expected fusionbench.AttentionMap")
    for modality in filter(None, (one.modality, one.queries)):
        if modality not in batch.bags:
            raise PluginError(f"{who} is of {modality!r}, expected one of {', '.join(batch.bags)}")
    parts: Parts = getattr(module, "parts", {})
    one = replace(
        one,
        item_names=one.item_names or tuple(parts.get(one.modality, {})),
        query_names=one.query_names or tuple(parts.get(one.queries, {})),
    )
    counts = {"item": len(one.item_names) or batch.bags[one.modality].mask.shape[1]}
    if one.queries or one.query_names:
        counts["query"] = len(one.query_names) or batch.bags[one.queries].mask.shape[1]
    _check_shape(f"{who}, values", one.values, (*one.axes, "item"), len(batch.ids), counts)
    if one.scores is not None:
        _check_shape(f"{who}, scores", one.scores, (*one.axes, "item"), len(batch.ids), counts)
    for side, sums in (one.marginals or {}).items():
        axes = one.axes if side == "query" else (*(axis for axis in one.axes if axis != "query"), "item")
        _check_shape(f"{who}, marginals of {side}", sums, axes, len(batch.ids), counts)
    return _changed(one, lambda tensor: tensor.detach().float().cpu())


def _check_shape(who: str, values: Tensor, axes: Sequence[str], cases: int, counts: Mapping[str, int]) -> None:
    wanted = {i + 1: counts[axis] for i, axis in enumerate(axes) if axis in counts} | {0: cases}
    if values.ndim != len(axes) + 1 or any(values.shape[i] != size for i, size in wanted.items()):
        sizes = ", ".join(f"{size} {what}" for what, size in {"cases": cases, **counts}.items())
        raise PluginError(f"{who} has shape {tuple(values.shape)}, expected (case, {', '.join(axes)}) with {sizes}")


def _changed(one: AttentionMap, change: Callable[[Tensor], Tensor]) -> AttentionMap:
    """A map with all its tensors changed."""
    return replace(
        one,
        values=change(one.values),
        scores=None if one.scores is None else change(one.scores),
        marginals=None if one.marginals is None else {side: change(sums) for side, sums in one.marginals.items()},
    )


def _joined(maps: Sequence[AttentionMap], place: Tensor) -> AttentionMap:
    """One map of all cases; what is longer in another batch is padded with 0."""
    first = maps[0]
    return replace(
        first,
        values=joined([one.values for one in maps])[place],
        scores=None if first.scores is None else joined([one.scores for one in maps if one.scores is not None])[place],
        marginals=None
        if first.marginals is None
        else {side: joined([one.marginals[side] for one in maps if one.marginals])[place] for side in first.marginals},
    )


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Tensors one after the other along their first axis, all others padded with 0 to the longest."""
    sizes = torch.tensor([part.shape[1:] for part in parts]).amax(dim=0).tolist()
    made = parts[0].new_zeros(sum(map(len, parts)), *sizes)
    start = 0
    for part in parts:
        made[(slice(start, start + len(part)), *(slice(size) for size in part.shape[1:]))] = part
        start += len(part)
    return made
