"""Options of `dsmil`. "Published" is binli123/dsmil-wsi at 80465ed."""

from __future__ import annotations

from typing import Literal

from fusionbench_unimodal import PoolerOptions
from pydantic import Field


class DsmilOptions(PoolerOptions):
    """Options of `dsmil`. The program of the paper's time: `dsmil[query=linear,value=linear]`.

    Attributes:
        width: of a layer (Linear, ReLU, dropout) in front of everything else; 0 = features are taken as they are, which
            is published. With wide features and several outputs, fusion has (outputs x features) numbers of the bag.
        query: "two-layer" = Linear, ReLU, Linear, tanh (published), or "linear" (paper).
        query_width: Published: 128.
        value: what is pooled: "identity" = the features (published), "relu" = Linear, ReLU, or "linear" (paper).
        pool_dropout: on what `value` is given, and in the layer of `width`. Published: 0.
        head: "mean" = the logits are the mean of the bag's and of each output's highest instance (published for
            survival); "two" = the logits are the bag's, and the loss is half that of the bag and half that of the
            highest instances, without weights and alpha (published for classes, there with a sigmoid for each class).
        start: "torch" = as torch does (published class), or "orthogonal" weights and zero biases (published trainer,
            against equal attention on all instances). Orthogonal, the first hazards are high, and after few epochs
            survival is too low. Layers that fusion brings start as torch does.
    """

    width: int = Field(0, ge=0)
    query: Literal["two-layer", "linear"] = "two-layer"
    query_width: int = Field(128, ge=1)
    value: Literal["identity", "relu", "linear"] = "identity"
    head: Literal["mean", "two"] = "mean"
    start: Literal["torch", "orthogonal"] = "torch"
