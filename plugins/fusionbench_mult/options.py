"""Options of `mult`. "Published" is yaohungt/Multimodal-Transformer at a670936."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_healnet import TokenOptions
from pydantic import Field, model_validator


class SetOptions(TokenOptions):
    """How each modality becomes a set of tokens of one width.

    Attributes:
        bag_tokens: a bag or a grid becomes this many tokens, each the instances pooled by attention of a learned query
            (Lee et al. 2019); 0 = every instance is a token, at a cost that is quadratic in the instances.
    """

    bag_tokens: int = Field(16, ge=0)


class MultOptions(SetOptions):
    """Options of `mult`.

    Attributes:
        width: of a token. Published: 30.
        heads: of every attention. Published: 5.
        layers: of the networks that read one modality into another. Published: 5.
        memory_layers: of the self-attention on what a modality has read; None = the larger of `layers` and 3, as
            published.
        target: name of the one modality that is read out; empty = all (published: both).
        readout: "mean" of a target's tokens, or its "last" one (published), which depends on their order.
        causal: token i sees only tokens up to i and the difference in length of both sequences. Published: on. Off,
            since patches, cells and genes have no order.
        order: add sinusoids of a token's number, in every network once more. Published: on; off for the same reason.
        zero_is_padding: a token whose first feature is exactly 0 gets no sinusoid, as if it were padding. A published
            bug.
        equal_width_as_is: a modality whose tokens have the width already is not projected. A published special case.
        absent: a modality that a case lacks: "nothing" = attention on it adds nothing, so that its readers' tokens
            go on by themselves, and its own read-out is zero; "token" = one learned token stands for it.
        attention_dropout: on attention weights. Published: .1, in networks that read audio or video 0.
        dropout: within and after the feed-forward and after attention. Published: .1.
        embedding_dropout: on the tokens that enter a network. Published: .25.
        output_dropout: in the last residual block. Published: 0.
        head_scale: multiplies the output layer's start. Published: 1.
    """

    width: int = Field(30, ge=1)
    heads: int = Field(5, ge=1)
    layers: int = Field(2, ge=1)
    memory_layers: int | None = Field(None, ge=1)
    target: str = ""
    readout: Literal["mean", "last"] = "mean"
    causal: bool = False
    order: bool = False
    zero_is_padding: bool = False
    equal_width_as_is: bool = False
    absent: Literal["nothing", "token"] = "nothing"
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    dropout: float = Field(0.1, ge=0, lt=1)
    embedding_dropout: float = Field(0.25, ge=0, lt=1)
    output_dropout: float = Field(0.0, ge=0, lt=1)
    head_scale: float = Field(1.0, gt=0)

    @property
    def depth_of_memory(self) -> int:
        """Layers of the self-attention."""
        return self.memory_layers or max(self.layers, 3)

    @property
    def ordered(self) -> bool:
        """Whether the order of a bag's instances is read."""
        by_order = self.order or self.causal or self.readout == "last"
        return self.positions == "all" or (by_order and self.bag_tokens == 0)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if self.order and self.width < 4:
            raise ValueError(f"order=true needs a width of at least 4, not {self.width}: two frequencies or more")
        if self.zero_is_padding and not self.order:
            raise ValueError("zero_is_padding is of order=true: leave it out")
        return self
