import pytest
import torch
from fusionbench_unimodal.networks import AbmilNetwork
from fusionbench_unimodal.options import AbmilOptions
from torch import nn

from fusionbench import ModalitySpec
from fusionbench.data.collate import collate
from tests.unit.network_cases import CASES, IMAGE

BAG = {"image": IMAGE}


def test_abmil_starts_as_xavier_says():
    net = AbmilNetwork([ModalitySpec("image", "bag", 400)], 4, AbmilOptions())
    assert net.embed[0].weight.std().item() == pytest.approx((2 / (400 + 512)) ** 0.5, rel=0.05)
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.Linear))


def test_the_default_is_porpoises_network_with_the_start_that_stored_cells_had():
    torch.manual_seed(7)
    net = AbmilNetwork([IMAGE], 4, AbmilOptions())
    torch.manual_seed(7)
    layers = {
        "embed.0": nn.Linear(5, 512),
        "pool.project": nn.Linear(512, 2 * 256),
        "pool.score": nn.Linear(256, 1),
        "head": nn.Linear(512, 4),
    }
    for layer in layers.values():
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    state = net.state_dict()
    assert list(state) == [f"{name}.{kind}" for name in layers for kind in ("weight", "bias")]
    for name, layer in layers.items():
        assert torch.equal(state[f"{name}.weight"], layer.weight)
        assert torch.equal(state[f"{name}.bias"], layer.bias)


def test_with_rho_it_starts_as_torch_does():
    torch.manual_seed(7)
    net = AbmilNetwork([IMAGE], 4, AbmilOptions(rho=True))
    torch.manual_seed(7)
    assert torch.equal(net.embed[0].weight, nn.Linear(5, 512).weight)
    assert net.embed[0].bias.any()
    assert (net.rho[0].in_features, net.rho[0].out_features, net.rho[2].p) == (512, 256, 0.25)


def test_fusion_has_rho():
    assert AbmilOptions(fusion="concat").rho
    assert AbmilOptions(fusion="concat") == AbmilOptions(fusion="concat", rho=True)
    assert not AbmilOptions().rho


@pytest.mark.parametrize("rho", [False, True])
def test_abmil_pools_by_its_attention(rho):
    net = AbmilNetwork([IMAGE], 4, AbmilOptions(width=8, attention_width=4, rho=rho)).eval()
    batch = collate(CASES, BAG)
    weights = net.attention(batch)["image"][:, 0, 0]
    pooled = (weights.unsqueeze(-1) * net.embed(batch.bags["image"].values)).sum(dim=1)
    torch.testing.assert_close(net(batch), net.head(net.rho(pooled)))
