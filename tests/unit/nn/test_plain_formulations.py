"""What computes the same in another order gives the numbers and gradients of the plain formulation."""

from dataclasses import replace

import pytest
import torch
from fusionbench_healnet import HealNet, HealnetOptions
from fusionbench_healnet import attention as orders
from fusionbench_healnet.attention import reciprocal_deviation
from fusionbench_mcat.models import Mcat
from fusionbench_porpoise import Porpoise
from torch import nn

from fusionbench import ModalitySpec, PreparedBag, PreparedCase, Task
from fusionbench.data.collate import collate
from fusionbench.nn import Dropout, GatedAttention, embed_and_pool, fully_connected
from tests.speed import plain

SPECS = {
    "omic": ModalitySpec("omic", "vector", 6, {"a": (0, 1, 2), "b": (3, 4, 5)}),
    "image": ModalitySpec("image", "bag", 40),
}


def cases(*lengths):
    """A float64 batch with padding."""
    g = torch.Generator().manual_seed(0)
    sizes = [{"omic": (1, 6), "image": (n, 40)} for n in lengths]
    made = [
        PreparedCase(str(i), {name: PreparedBag(torch.randn(*s, generator=g)) for name, s in size.items()})
        for i, size in enumerate(sizes)
    ]
    return typed(collate(made, SPECS), torch.float64)


def typed(batch, dtype, shift=0.0):
    bags = {name: replace(bag, values=bag.values.to(dtype) + shift) for name, bag in batch.bags.items()}
    return replace(batch, bags=bags)


def gradients(net, loss):
    net.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


def same(net: nn.Module, ours, theirs, tolerance=1e-10):
    """Both logits and every gradient, under the same random numbers."""
    found = []
    for logits in (ours, theirs):
        torch.manual_seed(5)
        out = logits()
        found.append((out.detach(), gradients(net, (out * torch.arange(1.0, out.numel() + 1).view_as(out)).sum())))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=tolerance, atol=tolerance)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[1][1].items():
        difference = (found[0][1][name] - gradient).abs().max()
        assert difference <= tolerance * (1 + gradient.abs().max()), name


def like_the_plain_one(x, rate):
    """Dropout with its numbers drawn in the order (case, head, latent, token), whichever axis the tokens are on."""
    drop = nn.functional.dropout
    return drop(x, rate) if x.ndim == 4 else drop(x.transpose(1, 2).contiguous(), rate).transpose(1, 2)


@pytest.mark.parametrize("contracted", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("sharing", ["all", "none"])
@pytest.mark.parametrize("training", [True, False])
def test_healnet(monkeypatch, contracted, norm, sharing, training):
    monkeypatch.setattr(orders, "contracting_is_cheaper", lambda *_, **__: contracted)
    monkeypatch.setattr(orders, "dropout", like_the_plain_one)
    options = HealnetOptions(
        token_norm=norm,
        sharing=sharing,
        layers=3,
        latents=4,
        latent_dim=6,
        heads=2,
        head_dim=5,
        head_scale=1.0,
        temperature=0.7,
    )
    torch.manual_seed(1)
    net = HealNet(SPECS.values(), 3, options).double().train(training)
    for name, p in net.named_parameters():
        if "norm_tokens" in name:
            nn.init.normal_(p)
    batch = cases(7, 12, 3)
    plain_cross = [isinstance(c, orders.Attention) for layer in net.layers for c in layer.cross]
    assert plain_cross == [False, True] * len(net.layers)
    same(net, lambda: net(batch), lambda: plain.healnet(net, batch))


def test_a_gradient_of_the_tokens_is_the_plain_one():
    net = (
        HealNet(SPECS.values(), 3, HealnetOptions(token_norm=True, tokens="feature", token_dim=4, head_scale=1.0))
        .double()
        .eval()
    )
    batch = cases(5, 9)
    same(net, lambda: net(batch), lambda: plain.healnet(net, batch))


@pytest.mark.parametrize(
    ("latents", "heads", "head_dim", "uses", "contracts"),
    [
        (25, 8, 16, 1, False),  # Table 5: BLCA
        (17, 8, 27, 1, True),  # KIRP
        (17, 8, 27, 5, False),
        (16, 8, 103, 1, True),  # UCEC
        (16, 8, 103, 2, True),
    ],
)
def test_the_order_is_the_cheaper_one(latents, heads, head_dim, uses, contracts):
    shape = orders.Shape(4000, 2048, latents, heads, head_dim)
    assert orders.contracting_is_cheaper(shape, uses, learned_tokens=False) is contracts


def test_one_token_is_projected_whatever_the_width():
    assert not orders.contracting_is_cheaper(orders.Shape(1, 5000, 4, 8, 100), 1, learned_tokens=False)


def test_the_deviation_is_that_of_layer_norm():
    x = torch.randn(2, 5, 7, dtype=torch.float64) * 3 + 2
    x[0, 0] = 1.5  # a token that says nothing
    expected = nn.functional.layer_norm(x, (7,))
    for values in (x, x.clone().requires_grad_()):
        found = (values - values.mean(dim=-1, keepdim=True)) * reciprocal_deviation(values)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_raw_features_far_from_zero_lose_little():
    """The mean is taken out on the other side of the product, which costs digits where it is large: a bound."""
    net = HealNet(SPECS.values(), 3, HealnetOptions(token_norm=True, head_scale=1.0)).eval()
    batch = typed(cases(50), torch.float32, shift=20.0)
    exact = plain.healnet(net.double(), typed(batch, torch.float64))
    rough = net.float()(batch)
    torch.testing.assert_close(rough.double(), exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "formula"), [(Porpoise, plain.porpoise), (Mcat, plain.mcat)])
def test_porpoise_and_mcat(model, formula):
    torch.manual_seed(2)
    net = model(model.Options()).build(Task(n_outputs=3), SPECS).double().eval()
    batch = cases(7, 12, 3)
    same(net, lambda: net(batch), lambda: formula(net, batch), tolerance=1e-9)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_embedding_and_pooling_some_rows_at_a_time(rate, monkeypatch):
    """With widths that are no multiple of four, an empty bag, and what the layers draw from the same seed."""
    monkeypatch.setattr("fusionbench.nn.fast_dropout._FEW", 1)
    monkeypatch.setattr("fusionbench.nn.embedpool._ROWS", 8)
    torch.manual_seed(3)
    drop, embed, pool = Dropout(rate), fully_connected(7, 5, rate), GatedAttention(5, 3, dropout=rate)
    net = nn.ModuleList([drop, embed, pool]).double()
    values, mask = torch.randn(3, 9, 7).double(), torch.arange(9) < torch.tensor([[9], [4], [0]])
    outer = torch.randn(3, 5).double(), torch.randn(3, 9).double()

    def ours():
        pooled, weights = embed_and_pool(values, mask, embed, pool, drop)
        assert "EmbedAndPool" in pooled.grad_fn.name()
        return torch.cat([pooled * outer[0], weights * outer[1]], dim=1)

    def by_layer():
        pooled, weights = pool(embed(drop(values)), mask)
        return torch.cat([pooled * outer[0], weights * outer[1]], dim=1)

    same(net, ours, by_layer)


def test_what_is_before_the_instances_learns_too():
    pool, values = GatedAttention(64, 64), torch.randn(2, 256, 64, requires_grad=True)
    embed_and_pool(values, torch.ones(2, 256, dtype=torch.bool), fully_connected(64, 64, 0.1), pool)[0].sum().backward()
    assert values.grad.abs().sum() > 0
