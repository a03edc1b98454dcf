"""A map of attention with more axes than layer and head: what each query gives to the items of a modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from fusionbench.core.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

Axis = Literal["layer", "head", "class", "query"]
Kind = Literal["weights", "mass"]
AXES: tuple[Axis, ...] = get_args(Axis)


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """What each query of a model gives to the items of one modality.

    Items are the instances of a bag, the module's `parts` of a vector, or what `item_names` says. Queries are the parts
    or instances of another modality, or learned.

    Attributes:
        values: (case, *axes, item), at least 0; 0 where an item or a query is padded or missing.
        modality: whose items.
        axes: names of the axes between case and item, each of `AXES` at most once.
        queries: the modality whose parts or instances ask along the axis `query`; empty where queries are learned.
        kind: `weights` of a softmax sum to 1 over the items of each query; `mass` is a transport plan.
        scores: what the softmax is taken of, in the shape of `values`; read where item and query are real.
        softmax: name of one softmax over the items of several maps, which together sum to 1: a pathway that chooses
            among pathways and patches at once. Such maps have the same queries.
        marginals: what mass sums to. None: 1 over queries and items together. `query`: (case, *axes), over the items;
            `item`: (case, *axes without query, item), over the queries. An empty mapping: an unbalanced plan, whose
            sums are free.
        item_names, query_names: of items and queries that are neither instances nor parts, such as prototypes.

    Raises:
        PluginError: axes or kind are unknown, or mass has no queries.
    """

    values: Tensor
    modality: str
    axes: tuple[Axis, ...] = ()
    queries: str = ""
    kind: Kind = "weights"
    scores: Tensor | None = None
    softmax: str = ""
    marginals: Mapping[Literal["query", "item"], Tensor] | None = None
    item_names: tuple[str, ...] = ()
    query_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.axes)) < len(self.axes) or not set(self.axes) <= set(AXES):
            raise PluginError(f"AttentionMap: axes are {self.axes}, expected some of {', '.join(AXES)}, each once")
        if self.kind not in get_args(Kind):
            raise PluginError(f"AttentionMap: kind is {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        if "query" not in self.axes and (self.queries or self.query_names or self.kind == "mass"):
            raise PluginError("AttentionMap: mass and named queries need an axis 'query'; name it in `axes`")
        if self.kind == "mass" and self.softmax:
            raise PluginError("AttentionMap: mass is of no softmax; leave `softmax` out")
        if self.kind == "weights" and self.marginals is not None:
            raise PluginError("AttentionMap: marginals are of mass; leave them out")

    def arranged(self, values: Tensor) -> Tensor:
        """(case, layer, head, class, query, item) `values` or `scores`: an axis that the map lacks has length 1."""
        there = [axis for axis in AXES if axis in self.axes]
        moved = values.permute(0, *(1 + self.axes.index(axis) for axis in there), values.ndim - 1)
        sizes = dict(zip(there, moved.shape[1:-1], strict=True))
        return moved.reshape(len(values), *(sizes.get(axis, 1) for axis in AXES), values.shape[-1])

    def overall(self) -> Tensor:
        """(case, layer, head, item) weights averaged over classes and queries; a row sums to 1, or is 0."""
        given = self.arranged(self.values).sum(dim=(3, 4))
        total = given.sum(dim=-1, keepdim=True)
        return (given / total).masked_fill(total == 0, 0.0)
