"""Options of the three models. "Published" is mahmoodlab/MCAT at b9cca63; every default is the published one."""

from __future__ import annotations

from types import MappingProxyType
from typing import Annotated, Literal, Self

from fusionbench_porpoise import Sized
from fusionbench_unimodal import AbmilOptions
from pydantic import Field, model_validator

Width = Annotated[int, Field(ge=1)]


class McatOptions(Sized):
    """Options of `mcat`.

    Attributes:
        groups: what becomes a token: "declared" = each declared group of a vector, and a vector without groups as a
            whole (published: six groups of genes); "one" = all vectors side by side as a single token (HEALNet's
            repository).
        fusion: "concat" as in the released results, or "bilinear", the gated Kronecker product.
        group_widths: of the layers on each group; the last is the width of every token, of the embedded instances and
            of what follows. Published: 256, 256, "big" 1024, 1024, 1024, 256.
        heads: of the set transformers. Published: 8.
        layers: of the set transformers. Published: 2.
        feedforward: width within their layers. Published: 512.
        scale: fusion=bilinear divides both widths by it. Published: 8.
        dropout: everywhere but in the co-attention and in fusion=concat, which have none. Published: .25.
        dropout_kind: of the groups' layers. Published: "alpha"; "plain" trains better in `snn`.
        head_scale: multiplies the output layer's start. Published: 1; see `Snn` of fusionbench_unimodal for less.
    """

    sizes = MappingProxyType({"small": {"group_widths": (256, 256)}, "big": {"group_widths": (1024, 1024, 1024, 256)}})

    groups: Literal["declared", "one"] = "declared"
    fusion: Literal["concat", "bilinear"] = "concat"
    group_widths: tuple[Width, ...] = Field((256, 256), min_length=1)
    heads: int = Field(8, ge=1)
    layers: int = Field(2, ge=1)
    feedforward: Width = 512
    scale: int = Field(8, ge=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    dropout_kind: Literal["alpha", "plain"] = "alpha"
    head_scale: float = Field(1.0, gt=0)

    @property
    def width(self) -> int:
        """Of a token."""
        return self.group_widths[-1]

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"the last of group_widths ({self.width}) must be a multiple of heads ({self.heads})")
        if self.fusion == "bilinear" and self.width < self.scale:
            raise ValueError(f"the last of group_widths ({self.width}) is divided by scale ({self.scale})")
        if self.fusion != "bilinear" and self.scale != type(self).model_fields["scale"].default:
            raise ValueError("scale: of fusion=bilinear only; leave it out")
        return self


class McatWsiOptions(Sized, AbmilOptions):
    """Options of `mcat-wsi`: those of `abmil` with the published layer on the pooled bag, and `size`.

    Attributes:
        attention_width: of the gated attention. Published: 256, "big" 384.
        hidden: width of rho, the layer on the pooled bag. Published: 256, "big" 384.
        fusion, rho: none, and with that layer; `abmil` offers the others.
    """

    sizes = MappingProxyType(
        {"small": {"attention_width": 256, "hidden": 256}, "big": {"attention_width": 384, "hidden": 384}}
    )

    fusion: Literal["none"] = "none"
    rho: Literal[True] = True
