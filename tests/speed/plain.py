"""Models as they are published, written plainly: the oracle of what computes the same in another order, and what its
speed is measured against. Each takes a built network of ours and uses its weights."""

from __future__ import annotations

from typing import cast

import torch
from fusionbench_healnet.attention import Attention, Source, split_heads
from fusionbench_healnet.network import HealNet
from fusionbench_mcat.network import McatNetwork
from fusionbench_porpoise.networks import PorpoiseNetwork
from torch import Tensor, nn
from torch.nn import functional as F

from fusionbench import Batch
from fusionbench.nn import GatedAttention


def healnet(net: HealNet, batch: Batch) -> Tensor:
    """Logits of a HealNet whose cases have every modality: tokens are normed and projected by every layer."""
    latents = net.latents.expand(len(batch.ids), -1, -1)
    for i in range(net.depth):
        layer = net.layers[min(i, len(net.layers) - 1)]
        for m, (name, tokenize) in enumerate(zip(net.names, net.tokenizers, strict=True)):
            tokens = tokenize(batch.bags[name])
            latents = latents + attended(layer.cross[m], latents, tokens.values, tokens.mask)
            latents = latents + layer.feed[m % len(layer.feed)](latents)
    return cast(Tensor, net.head(net.norm(latents.mean(dim=1))))


def attended(block: nn.Module, latents: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
    """What `block` adds to the latents, in the order of its formula."""
    if not isinstance(block, Attention):  # a single token: there is no other order
        return cast(Tensor, block(latents, block.remember(Source(tokens), latents=latents.shape[1], uses=1), mask))
    key, value = (split_heads(x, block.heads) for x in block.key_value(block.norm_tokens(tokens)).chunk(2, dim=-1))
    query = split_heads(block.query(block.norm(latents)), block.heads)
    scores = query @ key.transpose(-2, -1) * block.scale
    weights = scores.masked_fill(~mask[:, None, None, :], -torch.inf).softmax(dim=-1)
    seen = F.dropout(weights, block.dropout, block.training) @ value
    return cast(Tensor, block.out(seen.transpose(1, 2).flatten(start_dim=2)))


def gated(pool: GatedAttention, instances: Tensor, mask: Tensor) -> Tensor:
    """The pooled bag, with two projections and two dropouts."""
    first, second = pool.project.weight.chunk(2), pool.project.bias.chunk(2)
    value = pool.dropout(torch.tanh(F.linear(instances, first[0], second[0])))
    gate = pool.dropout(torch.sigmoid(F.linear(instances, first[1], second[1])))
    scores = pool.score(value * gate).squeeze(-1).masked_fill(~mask, -torch.inf)
    return (scores.softmax(dim=-1).unsqueeze(1) @ instances).squeeze(1)


def fully_connected(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Linear, ReLU, torch's dropout."""
    linear, _, drop = layers
    return F.dropout(linear(x).relu(), cast(nn.Dropout, drop).p, drop.training)


def porpoise(net: PorpoiseNetwork, batch: Batch) -> Tensor:
    """Logits, the bag's branch step by step."""
    bag, path = batch.bags[net.bag], net.path
    values = F.dropout(bag.values, path.drop.p, path.training)
    pooled = gated(path.pool, fully_connected(path.embed, values), bag.mask)
    omic = net.omic(torch.cat([batch.bags[name].values[:, 0] for name in net.vectors], dim=-1))
    return cast(Tensor, net.head(net.fusion(fully_connected(path.rho, pooled), omic)))


def mcat(net: McatNetwork, batch: Batch) -> Tensor:
    """Logits, with a key and a value of every instance."""
    bag = batch.bags[net.bag]
    tokens = net.encode_groups(torch.cat([batch.bags[name].values[:, 0] for name in net.vectors], dim=-1))
    instances = fully_connected(net.embed, bag.values)
    weights, biases = net.attend.project.weight.chunk(3), net.attend.project.bias.chunk(3)
    query = F.linear(tokens, weights[0], biases[0])
    key, value = (F.linear(instances, weights[i], biases[i]) for i in (1, 2))
    scores = query @ key.transpose(1, 2) / tokens.shape[-1] ** 0.5
    seen = scores.masked_fill(~bag.mask.unsqueeze(1), -torch.inf).softmax(dim=-1) @ value
    return cast(Tensor, net.head(net.fusion(net.path(net.attend.out(seen))[0], net.omic(tokens)[0])))
