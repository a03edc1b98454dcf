"""Options of `ilra`. "Published" is jinxixiang/low_rank_wsi at bb45b9b."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_unimodal import PoolerOptions
from pydantic import Field, model_validator


class IlraOptions(PoolerOptions):
    """Options of `ilra`; defaults are those of the published class. Its shipped config: `ilra[rank=1,norm=true]`.

    Attributes:
        width: of every token. Published: 256.
        heads: of each attention. Published: 8.
        layers: Published: 2.
        rank: latent tokens of a layer. Published: 2; config 1, by which each instance receives the same vector.
        norm: LayerNorm in each block. Published: off; config on.
        pool_dropout: on the pooled token. Published: none.
        start: "xavier" = Xavier-normal weights of linear maps, biases as torch has them (published), or "torch".
    """

    width: int = Field(256, ge=1)
    heads: int = Field(8, ge=1)
    layers: int = Field(2, ge=1)
    rank: int = Field(2, ge=1)
    norm: bool = False
    start: Literal["xavier", "torch"] = "xavier"

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} share width={self.width}: width must be a multiple of heads")
        return self
