"""Options of `mbt`. "Published" is the paper and google-research/scenic at 03c3032."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_mult import SetOptions
from pydantic import Field, model_validator


class MbtOptions(SetOptions):
    """Options of `mbt`; smaller than published, which starts from ViT-B with the weights of ImageNet.

    Attributes:
        width: of a token. Published: 768.
        heads: of every attention. Published: 12.
        layers: of each modality. Published: 12.
        fusion_layer: the first layer (from 0) in which modalities exchange. Published: 8. What a layer writes into the
            bottlenecks is read by the next one; with `layers` there is no exchange at all (late fusion).
        bottlenecks: tokens through which they exchange. Published: 4.
        expansion: width of the feed-forward over that of a token. Published: 4.
        sharing: one set of layers for all modalities. Published: off.
        readout: "class" = the logits of each modality's class token, averaged (paper); "mean" = the mean of all tokens
            of all modalities that a case has (the released AudioSet setting).
        supervised: "averaged" = trained is the loss of the averaged logits; "each" = the mean of the losses that the
            modalities' own logits have (released code, an option there), which makes each modality predict by itself.
            Predicted are the averaged logits either way.
        dropout: after attention and after the feed-forward. Published: 0, and whole layers are skipped at .3.
        head_scale: multiplies the output layer's start. Published: 0; at 0, nothing below it would learn in the first
            step.
    """

    width: int = Field(64, ge=1)
    heads: int = Field(4, ge=1)
    layers: int = Field(3, ge=1)
    fusion_layer: int = Field(1, ge=0)
    bottlenecks: int = Field(4, ge=1)
    expansion: int = Field(4, ge=1)
    sharing: bool = False
    readout: Literal["class", "mean"] = "class"
    supervised: Literal["averaged", "each"] = "averaged"
    dropout: float = Field(0.1, ge=0, lt=1)
    head_scale: float = Field(0.01, ge=0)

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if self.supervised == "each" and self.readout != "class":
            raise ValueError("supervised=each needs logits of each modality: readout=class")
        if self.fusion_layer > self.layers:
            raise ValueError(f"fusion_layer ({self.fusion_layer}) is at most layers ({self.layers}): no exchange")
        return self
