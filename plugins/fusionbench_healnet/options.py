"""HEALNet's options and the named sets of values that published runs used.

"Paper" is Hemker et al. 2024 (its Table 5 and appendix A); "repository" is konst-int-i/healnet at 90459b6.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fusionbench import Options

Preset = Literal["default", "paper-blca", "paper-brca", "paper-kirp", "paper-ucec", "official"]


def _table5(layers: int, latents: int, dim: int, head_dim: int, attention: float, feedforward: float) -> dict[str, Any]:
    """One column of Table 5; 8 heads and U(0, 1) latents (Algorithm 1) are common to all four."""
    return {
        "layers": layers,
        "latents": latents,
        "latent_dim": dim,
        "heads": 8,
        "head_dim": head_dim,
        "attention_dropout": attention,
        "feedforward_dropout": feedforward,
        "latent_init": "uniform",
        "latent_std": 1.0,
    }


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        "paper-blca": _table5(2, 25, 119, 16, 0.08, 0.47),
        "paper-brca": _table5(2, 17, 126, 63, 0.46, 0.36),
        "paper-kirp": _table5(5, 17, 62, 27, 0.32, 0.05),
        "paper-ucec": _table5(2, 16, 65, 103, 0.25, 0.06),
        # What the repository ships and computes for BLCA, including what its paper does not mention.
        "official": {
            **_table5(2, 25, 119, 16, 0.083, 0.473),
            "heads": 1,
            "positions": "all",
            "bands": 2,
            "max_frequency": 2.0,
            "token_norm": True,
            "trivial_attention": True,
            "temperature": 0.5,
            "attention_activation": "leaky_relu",
            "latent_init": "normal",
            "latent_std": 1.0,
            "head_scale": 1.0,
            "sharing": "none",
        },
    }
)


class NetworkOptions(Options):
    """Options of a HEALNet on inputs of any kind; a preset sets values, an option given explicitly wins over it.

    Attributes:
        layers: fusion layers d; in each, every modality updates the latents once. Paper: 2, 2, 5, 2.
        latents: rows a of the shared latent array. Paper: 16 to 25.
        latent_dim: columns b of the shared latent array. Paper: 62 to 126, chosen with GPU time; smaller here.
        heads: attention heads. Paper: 8 (the repository's best runs: 1).
        head_dim: width of a head. Paper: 16 to 103.
        attention_dropout: on the attention weights. Paper: .08 to .46.
        feedforward_dropout: after the feed-forward. Paper: .05 to .47.
        positions: Fourier encoding of positions: of "grids" only, of "all" modalities by index (the repository; it
            makes bags depend on the order of their instances), or "none".
        bands: frequencies of that encoding. Repository: 2.
        max_frequency: the multipliers of pi run from 1 to half of it. Repository's class default: 10.
        token_norm: LayerNorm over each token's channels before the projections. Paper: not mentioned; repository: on.
            Off, since the harness standardises over cases what this would standardise over channels: of two clinical
            columns the norm leaves the sign of their difference, and with a signal planted in few of 16 channels c
            fell from .70 to .63.
        trivial_attention: keep query and key projections where a modality always is one token. The softmax over one
            token is 1, so they never get a gradient; off, that attention is what it computes: the value projection.
        self_attention: self-attention of the latents and a feed-forward after each modality. Paper and repository: off.
        self_heads, self_head_dim: of that self-attention; None = as the cross-attention.
        temperature: divides the attention's scores. Paper: 1; repository: 0.5.
        attention_activation: after the attention's output projection. Paper: none; repository: leaky_relu (.01).
        activation: of the gate in the feed-forward: "selu" is the paper's self-normalising block, or "gelu".
        latent_init: "normal" (0, std) as in the repository, or "uniform" (0, std) as in Algorithm 1.
        latent_std: standard deviation of the normal, or upper end of the uniform.
        head_scale: multiplies the output layer's start (torch's default; the repository: 1). Small, since a random
            network's first logits differ between cases by noise, which few cases make hard to unlearn: on a synthetic
            cohort with 1000 columns and 408 training cases c is .61 instead of .55. At 0, nothing below it would learn
            in the first step.
        sharing: one set of weights per modality for "all" layers (paper), for "none" (repository), or
            "official-tied": the first layer its own, the others one set whose feed-forward all modalities share.
    """

    preset: Preset = "default"
    layers: int = Field(2, ge=1)
    latents: int = Field(16, ge=1)
    latent_dim: int = Field(32, ge=2)
    heads: int = Field(4, ge=1)
    head_dim: int = Field(16, ge=1)
    attention_dropout: float = Field(0.1, ge=0, lt=1)
    feedforward_dropout: float = Field(0.1, ge=0, lt=1)
    positions: Literal["grids", "all", "none"] = "grids"
    bands: int = Field(2, ge=1)
    max_frequency: float = Field(10.0, gt=0)
    token_norm: bool = False
    trivial_attention: bool = False
    self_attention: bool = False
    self_heads: int | None = Field(None, ge=1)
    self_head_dim: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, gt=0)
    attention_activation: Literal["none", "leaky_relu"] = "none"
    activation: Literal["selu", "gelu"] = "selu"
    latent_init: Literal["normal", "uniform"] = "normal"
    latent_std: float = Field(1.0, gt=0)
    head_scale: float = Field(0.01, gt=0)
    sharing: Literal["all", "none", "official-tied"] = "all"

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: Any) -> Any:
        """Resolve before validation, so that the options' values (and the cell key made of them) are what runs."""
        if not isinstance(given, Mapping):
            return given
        return {**PRESETS.get(str(given.get("preset", "default")), {}), **given}

    @model_validator(mode="after")
    def _self_attention_is_on(self) -> Self:
        if not self.self_attention and (self.self_heads or self.self_head_dim):
            raise ValueError(
                "self_heads and self_head_dim are of the self-attention: set self_attention=true or leave them"
            )
        return self


class TokenOptions(Options):
    """What a modality is cut into, for models other than HEALNet that take tokens.

    Attributes:
        tokens: what a vector is cut into: "single" = one token, "feature" = one token a feature, "group" = one token
            for each declared feature group and one for the columns outside all groups.
        token_dim: width of a learned feature or group token.
        positions: Fourier encoding of positions: of "grids" only, of "all" modalities by index (which makes bags depend
            on the order of their instances), or "none".
        bands: frequencies of that encoding.
        max_frequency: the multipliers of pi run from 1 to half of it.
    """

    tokens: Literal["single", "feature", "group"] = "single"
    token_dim: int = Field(32, ge=2)
    positions: Literal["grids", "all", "none"] = "grids"
    bands: int = Field(2, ge=1)
    max_frequency: float = Field(10.0, gt=0)


class HealnetOptions(NetworkOptions):
    """Options of `healnet`.

    Attributes:
        tokens: what a vector is cut into: "single" = one token (the repository), "feature" = one token a feature
            (the paper's "attention scores for each feature"), "group" = one token for each declared feature group
            and one for the columns outside all groups.
        token_dim: width of a learned feature or group token.
    """

    tokens: Literal["single", "feature", "group"] = "single"
    token_dim: int = Field(32, ge=2)
