"""Weights of binli123/dsmil-wsi (80465ed, and cdf926d of the paper's time) into our module, number by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from fusionbench_dsmil import DsmilNetwork, DsmilOptions
from torch import Tensor, nn

from fusionbench import ModalitySpec
from tests.golden.replay.bags import PATH, BagAdapter, averaged, of_logits
from tests.golden.replay.official import Official, Parts, PublishedConfig, Size, State, checked, fill, linear_parts

_VALUES = {"identity": "identity", "linear_relu": "relu", "linear": "linear"}
_HEAD = "b_classifier.fcc.weight"


class DsmilConfig(PublishedConfig):
    """Constructor arguments, and what the logits of the file are made of."""

    input_size: Size
    output_class: Size
    query_dim: Size
    nonlinear: bool
    value: Literal["identity", "linear_relu", "linear"]
    head: Literal["bag", "mean"]

    @property
    def options(self) -> DsmilOptions:
        values = {
            "query": "two-layer" if self.nonlinear else "linear",
            "query_width": self.query_dim,
            "value": _VALUES[self.value],
            "head": "two" if self.head == "bag" else "mean",
        }
        return checked(DsmilOptions, values, "DSMIL")


class DsmilAdapter(BagAdapter):
    """The bag, its inner values, and the losses of both heads."""

    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        net, batch = cast(DsmilNetwork, module), self(inputs)
        streams = net.streams(batch)
        logits, bag = cast(Tensor, net(batch)), net.logits(net.pooled(batch), batch)
        seen = {
            "output/logits": logits,
            "output/Y_prob": logits.softmax(dim=1),
            "output/bag_logits": bag,
            "output/max_logits": streams.highest,
            "output/sigmoid_bag": bag.sigmoid(),
            "output/bag_features": streams.bag,
            "output/attention": streams.weights,
        }
        if inputs[PATH].ndim == 3:
            return seen
        asked = streams.queries[0, streams.critical[0]]
        return seen | {
            "output/attention": streams.weights[0],
            "output/instance_logits": streams.scores[0],
            "output/critical": streams.critical[0],
            "mid/b_classifier.q": streams.queries[0],
            "mid/b_classifier.q_critical": asked,
            "mid/b_classifier.v": streams.values[0],
        }

    def losses(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """At home a sigmoid for each output: the label is a bit where there is one, and may be no class at all."""
        net, batch = cast(DsmilNetwork, module), self(inputs)
        highest, bag = net.streams(batch).highest, net.logits(net.pooled(batch), batch)
        label, outputs = inputs["target/y"], bag.shape[1]
        bits = nn.functional.one_hot(label, max(outputs, int(label.max())) + 1)
        wanted = (bits[:, 1:2] if outputs == 1 else bits[:, :outputs]).to(bag)
        of_bag, of_highest = (
            nn.functional.binary_cross_entropy_with_logits(x, wanted, reduction="none").mean(dim=1)
            for x in (bag, highest)
        )
        each = {"bce_bag": of_bag, "bce_max": of_highest, "bce": 0.5 * (of_bag + of_highest)}
        if outputs > 1 and int(label.max()) < outputs:
            heads = [of_logits(x, inputs) for x in (bag, highest)]
            each["ce_two_heads"] = 0.5 * (heads[0]["ce"] + heads[1]["ce"])
            each["nll_two_heads_a0.0"] = 0.5 * (heads[0]["nll_a0.0"] + heads[1]["nll_a0.0"])
            each |= of_logits(cast(Tensor, net(batch)), inputs)
        return averaged(each)


def published_parts(config: DsmilConfig) -> Parts:
    """Our parameter to the published ones that it is made of."""
    parts = linear_parts("score", "i_classifier.fc.0") | linear_parts("head", "b_classifier.fcc")
    if config.nonlinear:
        parts |= linear_parts("query.0", "b_classifier.q.0") | linear_parts("query.2", "b_classifier.q.2")
    else:
        parts |= linear_parts("query", "b_classifier.q")
    return parts if config.value == "identity" else parts | linear_parts("value.1", "b_classifier.v.1")


def load_official(config: Mapping[str, Any], state: State) -> Official | None:
    """The published `DSMIL` with these weights; None where `cls` names another.

    Raises:
        PluginError: naming every key of the config, or else every tensor, that is absent or does not fit.
    """
    if config.get("cls") != "DSMIL":
        return None
    given = checked(DsmilConfig, config, "DSMIL")
    net = DsmilNetwork([ModalitySpec(PATH, "bag", given.input_size)], given.output_class, given.options)
    parts = published_parts(given)
    # published, the head is a convolution over the outputs, as wide as a bag's vector
    flat = {name: x.reshape(len(x), -1) if name == _HEAD and x.ndim == 3 else x for name, x in state.items()}
    fill(net, flat, parts, who="DSMIL")
    return Official(net, DsmilAdapter().knowing(parts))
