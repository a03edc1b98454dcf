"""What models of one bag share: their options, and what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, get_args

from fusionbench import Choice, Interval, ModalitySpec, SearchSpace, Task
from fusionbench.nn import TorchModel
from fusionbench_unimodal.options import BagOptions, PoolerOptions


class BagModel(TorchModel):
    """A model of one bag or grid, and with `fusion` of the vectors beside it."""

    missing: ClassVar[Literal["native", "impute"]] = "impute"
    options: BagOptions

    def search_space(self) -> SearchSpace:
        return {**super().search_space(), "dropout": Interval(0.0, 0.5), "width": Choice((128, 256, 512))}

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        fusion = self.options.fusion
        named = [spec.name for spec in specs.values() if spec.kind == "vector"]
        bags = [spec.name for spec in specs.values() if spec.kind != "vector"]
        if not bags and fusion == "none":
            return f"takes bags and grids only; {named[0]!r} is a vector"
        if len(bags) > 1:
            return f"takes exactly one bag; there are {len(bags)}: {', '.join(map(repr, bags))}"
        if named and fusion == "none":
            return f"takes the bag {bags[0]!r} alone{self._or_with(_quoted(named))}"
        if not bags:
            return f"fusion={fusion} joins a bag or grid with vectors; {_quoted(named)} is all there is"
        if not named and fusion != "none":
            return f"fusion={fusion} joins {bags[0]!r} with vectors, and there is none: set fusion=none"
        return None

    def _or_with(self, vectors: str) -> str:
        """What to set to take the vectors too, where the options leave a choice."""
        kinds = get_args(type(self.options).model_fields["fusion"].annotation)
        joining = [f"fusion={kind}" for kind in kinds if kind != "none"]
        return f": set {' or '.join(joining)} to add {vectors}" if joining else f", not {vectors} beside it"


class PoolerModel(BagModel):
    """A published model of one bag, alone or, behind rho, fused with the vectors beside it.

    Attributes:
        published: what `recipe=own` changes of the suite's `[train]`.
    """

    published: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    options: PoolerOptions

    def recipe(self) -> Mapping[str, Any]:
        return self.published if self.options.recipe == "own" else {}

    def search_space(self) -> SearchSpace:
        usual = {**super().search_space(), "pool_dropout": Interval(0.0, 0.5)}
        return usual if self.options.fusion != "none" else {k: v for k, v in usual.items() if k != "dropout"}


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
