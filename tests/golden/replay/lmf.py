"""Weights of Justin1904/Low-rank-Multimodal-Fusion (ea47551) into our modules, compared number by number.

What the published TFN shares with it, the sub-networks and their inputs, is here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import torch
from fusionbench_lmf import Embedder, EmbeddingOptions, LmfNetwork, LmfOptions, LstmEmbedder, VectorEmbedder
from pydantic import Field
from torch import Tensor, nn

from fusionbench import Bag, Batch
from fusionbench.nn import masked_mean
from tests.golden.replay.official import (
    Adapter,
    Official,
    Parts,
    PublishedConfig,
    Size,
    State,
    checked,
    fill,
    linear_parts,
)

NAMES = ("audio", "video", "text")


class ThreeVectors(PublishedConfig):
    """Widths of the published class, or of one whose sub-networks are replaced by identities (`widths`)."""

    input_dims: tuple[Size, Size, Size] | None = None
    hidden_dims: tuple[Size, Size, Size] | None = None
    text_out: Size | None = None
    widths: tuple[Size, Size, Size] | None = None
    output_dim: Size

    def embed(self, options: EmbeddingOptions) -> nn.ModuleList:
        """The published sub-networks, or none."""
        if self.input_dims is None or self.hidden_dims is None or self.text_out is None:
            return nn.ModuleList(Given(width) for width in self.widths or ())
        (audio, video, text), (a, v, t) = self.input_dims, self.hidden_dims
        last = LstmEmbedder(text, self.text_out, options, hidden=t)
        return nn.ModuleList([VectorEmbedder(audio, a, options), VectorEmbedder(video, v, options), last])


class LmfConfig(ThreeVectors):
    cls: Literal["LMF", "LMF_core"]
    rank: int = Field(ge=1)


class Given(Embedder):
    """The vector as it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def embed(self, bag: Bag) -> tuple[Tensor, None]:
        return masked_mean(bag.values, bag.mask), None


def subnetwork_parts(embed: nn.ModuleList) -> Parts:
    """Our sub-networks' parameters to the published ones."""
    parts: Parts = {}
    for i, (name, network) in enumerate(zip(NAMES, embed, strict=True)):
        ours, theirs = f"embed.{i}", f"{name}_subnet"
        if isinstance(network, LstmEmbedder):
            tensors = [name for name, _ in network.rnn.named_parameters()]
            parts |= {f"{ours}.rnn.{tensor}": (f"{theirs}.rnn.{tensor}",) for tensor in tensors}
            parts |= linear_parts(f"{ours}.out", f"{theirs}.linear_1")
        elif isinstance(network, VectorEmbedder):
            norm = network.network.norm.state_dict()
            parts |= {f"{ours}.network.norm.{tensor}": (f"{theirs}.norm.{tensor}",) for tensor in norm}
            for layer in range(3):
                parts |= linear_parts(f"{ours}.network.layers.{2 * layer}", f"{theirs}.linear_{layer + 1}")
    return parts


class VectorsAdapter(Adapter):
    """audio, video (case, feature) and text (case, word, feature); or z_audio, z_video, z_text (case, width)."""

    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        bags = {name: _bag(inputs[name] if name in inputs else inputs[f"z_{name}"]) for name in NAMES}
        return Batch(tuple(map(str, range(len(bags["audio"].mask)))), bags)

    def vectors(self, embed: nn.ModuleList, batch: Batch) -> dict[str, Tensor]:
        """The modalities' vectors under the published names."""
        return {f"mid/{name}_subnet": e(batch.bags[name]) for name, e in zip(NAMES, embed, strict=True)}


def _bag(values: Tensor) -> Bag:
    values = values if values.ndim == 3 else values.unsqueeze(1)
    return Bag(values, torch.ones(values.shape[:2], dtype=torch.bool))


class LmfAdapter(VectorsAdapter):
    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(LmfNetwork, module), self(inputs)
        vectors = self.vectors(net.embed, batch)
        audio = net.fusion.factor(0, vectors["mid/audio_subnet"])
        return {"output/logits": net(batch), "mid/fusion_audio": audio.transpose(0, 1), **vectors}


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `LMF` with these weights, or its fusion alone (`LMF_core`); None where `cls` names neither.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") not in ("LMF", "LMF_core"):
        return None
    given = checked(LmfConfig, config, "LMF")
    options = LmfOptions(rank=given.rank, batch_norm=True)
    net = LmfNetwork(NAMES, given.embed(options), given.output_dim, options)
    parts = subnetwork_parts(net.embed) | {f"fusion.factors.{i}": (f"{name}_factor",) for i, name in enumerate(NAMES)}
    parts |= {"fusion.weights": ("fusion_weights",), "fusion.bias": ("fusion_bias",)}
    fill(net, state, parts, who=given.cls)
    return Official(net, LmfAdapter().knowing(parts))
