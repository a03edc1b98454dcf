"""What models of one bag share: their options, and what they take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from fusionbench import Choice, Interval, ModalitySpec, Options, SearchSpace, Task
from fusionbench.nn import TorchModel

_IDLE = {"none": ("scale", "vector_dropout"), "concat": ("scale",), "bilinear": ()}
"""Options that have no effect with a fusion."""


class BagOptions(Options):
    """Options of every model of one bag. "Set-MIL" is the file of MCAT (and Porpoise) that holds these models.

    Attributes:
        fusion: "none" takes one bag or grid; "concat" and "bilinear" (a gated Kronecker product) take vectors beside
            it, which are concatenated in the suite's order. Set-MIL has all three.
        width: of an embedded instance. Set-MIL: 512.
        hidden: width of rho (the layer after the pooling), of both layers of the vectors' branch and of the fusion.
            Set-MIL: 256.
        dropout: after every layer below the head but those of "concat". Set-MIL: .25.
        scale: "bilinear" reduces both embeddings to hidden / scale. Set-MIL: 8.
        vector_dropout: kind of dropout in the vectors' branch: "alpha" is AlphaDropout (set-MIL), "plain" is what `snn`
            has by default, for the reason given there.
    """

    fusion: Literal["none", "concat", "bilinear"] = "none"
    width: int = Field(512, ge=1)
    hidden: int = Field(256, ge=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    scale: int = Field(8, ge=1)
    vector_dropout: Literal["alpha", "plain"] = "alpha"

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        for name in _IDLE[self.fusion]:
            if getattr(self, name) != BagOptions.model_fields[name].default:
                raise ValueError(f"{name} has no effect with fusion={self.fusion}: leave it out")
        if self.fusion == "bilinear" and self.hidden < self.scale:
            raise ValueError(f"scale={self.scale} divides hidden={self.hidden}: hidden must be at least scale")
        return self


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


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
