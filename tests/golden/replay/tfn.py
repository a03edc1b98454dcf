"""Weights of Justin1904/TensorFusionNetworks (ef0e78b) into our modules, compared number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from fusionbench_tfn import TfnNetwork, TfnOptions
from fusionbench_tfn.network import bounded, outer_product
from torch import Tensor, nn

from tests.golden.replay.lmf import NAMES, ThreeVectors, VectorsAdapter, subnetwork_parts
from tests.golden.replay.official import Official, Size, State, bounds, checked, fill, linear_parts


class TfnConfig(ThreeVectors):
    cls: Literal["TFN", "TFN_core"]
    post_fusion_dim: Size


class TfnAdapter(VectorsAdapter):
    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(TfnNetwork, module), self(inputs)
        vectors = self.vectors(net.embed, batch)
        product = outer_product(list(vectors.values()))
        first = net.layers[0](product)
        inner = {"mid/post_fusion_layer_1": first, "mid/post_fusion_layer_2": net.layers[2](first.relu())}
        logits = net(batch)
        return {
            "output/logits": logits,
            "output/bounded": bounded(logits),
            "mid/fusion_tensor": product,
            **inner,
            **vectors,
        }


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `TFN` with these weights, or its fusion alone (`TFN_core`); None where `cls` names neither.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") not in ("TFN", "TFN_core"):
        return None
    given = checked(TfnConfig, config, "TFN")
    options = TfnOptions(batch_norm=True, fusion_width=given.post_fusion_dim)
    net = TfnNetwork(NAMES, given.embed(options), given.output_dim, options)
    parts = subnetwork_parts(net.embed) | linear_parts("head", "post_fusion_layer_3")
    for i in (0, 2):
        parts |= linear_parts(f"layers.{i}", f"post_fusion_layer_{i // 2 + 1}")
    fill(net, state, parts, unused=bounds(state), who=given.cls)
    return Official(net, TfnAdapter().knowing(parts))
