"""`deepsets` and `mean-pool`: what is taken over a bag."""

import pytest
import torch
from fusionbench_unimodal.mean_pool import MeanPool
from fusionbench_unimodal.networks import DeepsetsNetwork, MeanPoolNetwork, SnnNetwork
from fusionbench_unimodal.options import DeepsetsOptions, MeanPoolOptions, SnnOptions

from fusionbench import PreparedBag, PreparedCase
from fusionbench.data.collate import collate
from tests.unit.network_cases import ALL, CASES, CLINICAL, IMAGE, MAP, OMIC

BAG = {"image": IMAGE}


@pytest.mark.parametrize("pool", ["mean", "sum"])
def test_deepsets_is_its_formula(pool):
    torch.manual_seed(0)
    net = DeepsetsNetwork([IMAGE], 4, DeepsetsOptions(width=8, hidden=6, pool=pool)).eval()
    embedded = [net.embed[0](case.bags["image"].values).relu() for case in CASES]
    pooled = torch.stack([getattr(x, pool)(dim=0) for x in embedded])
    torch.testing.assert_close(net(collate(CASES, BAG)), net.head(net.rho[0](pooled).relu()))


def test_the_mean_does_not_grow_with_the_bag_and_the_sum_does():
    torch.manual_seed(0)
    short = CASES[2]
    long = PreparedCase("long", {"image": PreparedBag(short.bags["image"].values.repeat(2000, 1))})
    batch = collate([short, long], BAG)
    mean, total = (DeepsetsNetwork([IMAGE], 4, DeepsetsOptions(pool=pool)).eval() for pool in ("mean", "sum"))
    torch.testing.assert_close(mean(batch)[0], mean(batch)[1], rtol=1e-4, atol=1e-4)
    assert total(batch)[1].abs().max() > 100 * total(batch)[0].abs().max()


def test_mean_pool_is_snn_on_the_means_in_the_suites_order():
    torch.manual_seed(0)
    specs = [OMIC, MAP, CLINICAL, IMAGE]
    net = MeanPoolNetwork(specs, 4, MeanPoolOptions()).eval()
    means = torch.stack([torch.cat([case.bags[s.name].values.mean(dim=0) for s in specs]) for case in CASES])
    torch.testing.assert_close(net(collate(CASES, ALL)), net.head(net.blocks(means)))


def test_mean_pool_on_vectors_is_snn():
    torch.manual_seed(0)
    ours = MeanPoolNetwork([OMIC, CLINICAL], 4, MeanPoolOptions()).eval()
    torch.manual_seed(0)
    snn = SnnNetwork([OMIC, CLINICAL], 4, SnnOptions()).eval()
    assert torch.equal(ours(collate(CASES, ALL)), snn(collate(CASES, ALL)))
    assert MeanPoolOptions().model_dump() == SnnOptions().model_dump()
    assert MeanPool.version == "1+snn-1"
