"""Options of the three models. "Published" is mahmoodlab/PORPOISE at 3390dc4; every default is the published one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self

from fusionbench_unimodal import AbmilOptions, SnnOptions
from pydantic import Field, model_validator

from fusionbench import Options

Width = Annotated[int, Field(ge=1)]

_OF_BILINEAR = ("gate_bag", "gate_vector", "scale_bag", "scale_vector", "skip")


class Sized(Options):
    """Options whose widths have two published sets; `size` sets them, a width given explicitly wins over it.

    Attributes:
        size: "small" is the published default.
    """

    sizes: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    size: Literal["small", "big"] = "small"

    @model_validator(mode="before")
    @classmethod
    def _fill_from_size(cls, given: Any) -> Any:
        """Resolve before validation, so that the options' values (and the cell key made of them) are what runs."""
        if not isinstance(given, Mapping):
            return given
        return {**cls.sizes.get(str(given.get("size", "small")), {}), **given}


class PorpoiseAmilOptions(Sized, AbmilOptions):
    """Options of `porpoise-amil`: those of `abmil`, and `size`.

    Attributes:
        attention_width: of the gated attention. Published: 256, "big" 384.
        fusion, rho: none; `abmil` offers them.
    """

    sizes = MappingProxyType({"small": {"attention_width": 256}, "big": {"attention_width": 384}})

    fusion: Literal["none"] = "none"
    rho: Literal[False] = False


class PorpoiseSnnOptions(Sized, SnnOptions):
    """Options of `porpoise-snn`: those of `snn` with the published defaults where ours differ, and `size`.

    Attributes:
        widths: of the hidden layers. Published: 4 x 256, "big" 1024, 1024, 1024, 256.
        dropout_kind: Published: AlphaDropout.
        head_scale: Published: 1.
    """

    sizes = MappingProxyType({"small": {"widths": (256,) * 4}, "big": {"widths": (1024, 1024, 1024, 256)}})

    dropout_kind: Literal["alpha", "plain"] = "alpha"
    head_scale: float = Field(1.0, gt=0)


class PorpoiseOptions(Options):
    """Options of `porpoise`; defaults are those of the published class `PorpoiseMMF`.

    The flags of the paper's runs are not recorded. The published command line, given none, runs what is written here
    `porpoise[gate_bag=false,gate_vector=false,skip=false,input_dropout=0]`, with fusion=bilinear asked for.

    Attributes:
        fusion: "bilinear" is the gated Kronecker product (published class default); "concat" puts both side by side.
        gate_bag, gate_vector: gate the bag's and the vectors' embedding. Published: on.
        scale_bag, scale_vector: each embedding is reduced to its width divided by this. Published: 8.
        skip: append both embeddings before the last fusion layer. Published: on.
        input_dropout: on the instances' features. Published: .10.
        dropout: everywhere else but in the two last fusion layers, which have none. Published: .25.
        width: of an embedded instance. Published: 512.
        attention_width: of the gated attention. Published: 256.
        bag_width: of the pooled bag's embedding. Published: 256.
        vector_widths: of the layers on the vectors. Published: 256, 256.
        fusion_width: of both layers that end the fusion. Published: 256.
        mlp: ReLU and plain dropout in the vectors' layers instead of ELU and AlphaDropout. Published: off.
        dropout_kind: of the vectors' layers where mlp is off. Published: "alpha"; "plain" trains better in `snn`.
        head_scale: multiplies the output layer's start. Published: 1; see `Snn` of fusionbench_unimodal for less.
    """

    fusion: Literal["bilinear", "concat"] = "bilinear"
    gate_bag: bool = True
    gate_vector: bool = True
    scale_bag: int = Field(8, ge=1)
    scale_vector: int = Field(8, ge=1)
    skip: bool = True
    input_dropout: float = Field(0.10, ge=0, lt=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    width: Width = 512
    attention_width: Width = 256
    bag_width: Width = 256
    vector_widths: tuple[Width, ...] = Field((256, 256), min_length=1)
    fusion_width: Width = 256
    mlp: bool = False
    dropout_kind: Literal["alpha", "plain"] = "alpha"
    head_scale: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        fields = type(self).model_fields
        changed = [name for name in _OF_BILINEAR if getattr(self, name) != fields[name].default]
        if self.fusion != "bilinear" and changed:
            raise ValueError(f"{', '.join(changed)}: of fusion=bilinear only; leave out with fusion={self.fusion}")
        if self.fusion == "bilinear":
            for what, scale in (("bag_width", self.scale_bag), ("vector_widths", self.scale_vector)):
                width = self.bag_width if what == "bag_width" else self.vector_widths[-1]
                if width < scale:
                    raise ValueError(f"{what} ({width}) is divided by {scale}: it must be at least that")
        return self
