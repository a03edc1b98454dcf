"""Options of the uni-modal models; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fusionbench import Options

Width = Annotated[int, Field(ge=1)]


class SnnOptions(Options):
    """Options of `snn`. The published layers: `snn[dropout_kind=alpha,head_scale=1]`.

    Attributes:
        widths: of the hidden layers. Porpoise and MCAT: 4 x 256 ("small"); "big" is 1024, 1024, 1024, 256.
        dropout: after each layer. Porpoise and MCAT: .25.
        dropout_kind: "alpha" is AlphaDropout (Porpoise, MCAT, Klambauer et al.); "plain" is ours, see `Snn`.
        activation: Porpoise and MCAT: ELU; Klambauer et al. 2017: SELU.
        init: "lecun" = N(0, 1 / fan-in) and zero biases (Porpoise, MCAT, Klambauer et al.); "torch" = torch's default.
        head_scale: multiplies the output layer's start. Porpoise and MCAT: 1; ours is small, see `Snn`. At 0, nothing
            below it would learn in the first step.
    """

    widths: tuple[Width, ...] = Field((256, 256, 256, 256), min_length=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    dropout_kind: Literal["alpha", "plain"] = "plain"
    activation: Literal["elu", "selu"] = "elu"
    init: Literal["lecun", "torch"] = "lecun"
    head_scale: float = Field(0.01, gt=0)


class MeanPoolOptions(SnnOptions):
    """Options of `mean-pool`: those of `snn`, whose layers it has; its defaults were settled there."""


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


class PoolerOptions(BagOptions):
    """Options of the published models of one bag that have neither rho nor dropout of their own outside the pooling.

    Attributes:
        hidden: with fusion alone: of rho, of both layers of the vectors' branch and of the fusion.
        dropout: with fusion alone: in those layers.
        pool_dropout: inside the pooling of the bag, where each model says.
        recipe: "suite" trains as every other model of the suite; "own" as the published program does.
    """

    pool_dropout: float = Field(0.0, ge=0, lt=1)
    recipe: Literal["suite", "own"] = "suite"

    @model_validator(mode="after")
    def _fusion_has_layers(self) -> Self:
        for name in ("dropout", "hidden") if self.fusion == "none" else ():
            if getattr(self, name) != BagOptions.model_fields[name].default:
                raise ValueError(f"{name} is of the layers that fusion brings: set fusion, or leave {name} out")
        return self


class AbmilOptions(BagOptions):
    """Options of `abmil`.

    Attributes:
        attention_width: of the gated attention. Porpoise's AMIL: 256 ("big": 384); set-MIL: 256.
        rho: False is Porpoise's AMIL, whose pooled bag goes to the head as it is, and True the set-MIL one. With
            fusion it is True, as published. Porpoise's AMIL has the same width and dropout as the set-MIL one.
    """

    attention_width: int = Field(256, ge=1)
    rho: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fusion_has_rho(cls, given: Any) -> Any:
        """Resolve before validation, so that the options' values (and the cell key made of them) are what runs."""
        if not isinstance(given, Mapping) or given.get("fusion", "none") == "none":
            return given
        return {"rho": True, **given}

    @model_validator(mode="after")
    def _rho_is_where_it_is_needed(self) -> Self:
        if self.fusion != "none" and not self.rho:
            raise ValueError(f"fusion={self.fusion} takes the bag behind rho: leave rho out")
        if not self.rho and self.hidden != BagOptions.model_fields["hidden"].default:
            raise ValueError("hidden is the width of rho: set rho=true or leave hidden out")
        return self


class DeepsetsOptions(BagOptions):
    """Options of `deepsets`. The published model: `deepsets[pool=sum]`.

    Attributes:
        pool: over the embedded instances. Set-MIL: the sum; ours is the mean, see `Deepsets`.
    """

    pool: Literal["mean", "sum"] = "mean"


class MifcnOptions(BagOptions):
    """Options of `mifcn`.

    Attributes:
        attention_width: of the gated attention over clusters. Set-MIL: 256.
        clusters: of k-means. Set-MIL: 10.
        fit_instances: training instances that k-means is fitted on, at most; an equal share of each case. Set-MIL reads
            ready-made clusters and does not say what they were fitted on; ours: a few seconds on one core.
    """

    attention_width: int = Field(256, ge=1)
    clusters: int = Field(10, ge=1)
    fit_instances: int = Field(10_000, ge=1)
