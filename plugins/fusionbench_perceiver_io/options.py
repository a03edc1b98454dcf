"""Options of `perceiver-io`. "Published" is the paper and google-deepmind/deepmind-research at 198cf84."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_healnet import TokenOptions
from pydantic import Field, model_validator


class PerceiverIoOptions(TokenOptions):
    """Options of `perceiver-io`; smaller than published, which has 512 latents of 1,024.

    Attributes:
        latents: rows of the latent array. Published: 512.
        latent_dim: columns of it, and width of every attention on it. Published: 1,024.
        read_width: width of query and key where the latents read the tokens. Published: that of a token.
        read_heads: heads there. Published: 1.
        blocks: times that the self-attention layers are run, with the same weights. Published: 8.
        self_layers: self-attention layers of a block. Published: 6.
        self_heads: heads of them. Published: 8.
        expansion: width of every feed-forward over that of its input. Published: 1.
        decoder: "query" = a learned query reads the latents; "mean" = the mean of the latents (a published baseline).
        query_residual: add that query to what it reads. Published: off.
        modality_dim: numbers that are learned for each modality and stand behind the channels of its tokens; narrower
            modalities have more of them, up to the width of the widest. Published: at least 4 (as remembered).
        modality_std: standard deviation of their start. Published: .02. Larger, since tokens are normed over their
            channels: beside small numbers, the norm would leave of two clinical columns only their direction.
        dropout: after attention and after the feed-forward. Published: 0.
        head_scale: multiplies the output layer's start. Published: 1.
    """

    latents: int = Field(32, ge=1)
    latent_dim: int = Field(64, ge=1)
    read_width: int = Field(64, ge=1)
    read_heads: int = Field(1, ge=1)
    blocks: int = Field(2, ge=1)
    self_layers: int = Field(2, ge=1)
    self_heads: int = Field(4, ge=1)
    expansion: int = Field(1, ge=1)
    decoder: Literal["query", "mean"] = "query"
    query_residual: bool = False
    modality_dim: int = Field(8, ge=1)
    modality_std: float = Field(1.0, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    head_scale: float = Field(1.0, gt=0)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        for width, heads in (("latent_dim", "self_heads"), ("read_width", "read_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(f"{width} ({getattr(self, width)}) must be a multiple of {heads}")
        if self.latent_dim % self.read_heads:
            raise ValueError(f"latent_dim ({self.latent_dim}) must be a multiple of read_heads")
        if self.query_residual and self.decoder != "query":
            raise ValueError("query_residual is of decoder=query: leave it out")
        return self
