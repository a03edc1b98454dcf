import pytest
import torch
from fusionbench_unimodal.networks import SnnNetwork
from fusionbench_unimodal.options import SnnOptions

from fusionbench import ModalitySpec
from fusionbench.data.collate import collate
from fusionbench.survival import discrete_hazard_nll
from tests.unit.network_cases import CASES, CLINICAL, OMIC

PUBLISHED = SnnOptions(dropout_kind="alpha", head_scale=1)


def test_snn_takes_vectors_in_the_suites_order():
    torch.manual_seed(0)
    net = SnnNetwork([OMIC, CLINICAL], 4, SnnOptions()).eval()
    seen = {}
    net.blocks.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    batch = collate(CASES, {"clinical": CLINICAL, "omic": OMIC})
    net(batch)
    expected = torch.cat([batch.bags["omic"].values[:, 0], batch.bags["clinical"].values[:, 0]], dim=1)
    assert torch.equal(seen["x"], expected)


def test_snn_starts_as_lecun_says():
    net = SnnNetwork([ModalitySpec("omic", "vector", 400)], 4, PUBLISHED)
    linears = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.out_features for m in linears] == [256, 256, 256, 256, 4]
    for linear in linears:
        assert linear.weight.std().item() == pytest.approx(linear.in_features**-0.5, rel=0.1)
        assert not linear.bias.any()


@pytest.mark.parametrize("init", ["lecun", "torch"])
def test_snns_head_starts_small_and_nothing_else_changes(init):
    nets = []
    for scale in (1, 0.01):
        torch.manual_seed(0)
        nets.append(SnnNetwork([OMIC], 4, SnnOptions(init=init, head_scale=scale)).state_dict())
    full, small = nets
    for name, values in full.items():
        assert torch.equal(small[name], values * 0.01 if name.startswith("head.") else values), name


def test_snns_defaults_leave_the_published_ones_where_the_docstring_says():
    assert SnnOptions(dropout_kind="plain", head_scale=0.01) == SnnOptions()
    assert [type(block[2]) for block in SnnNetwork([OMIC], 4, SnnOptions()).blocks] == [torch.nn.Dropout] * 4
    published = SnnNetwork([OMIC], 4, PUBLISHED)
    assert [type(block[2]) for block in published.blocks] == [torch.nn.AlphaDropout] * 4
    assert {block[2].p for block in published.blocks} == {0.25}
    assert isinstance(published.blocks[0][1], torch.nn.ELU)


def test_trained_snn_fits_its_training_cases_without_dropout_as_with_it():
    """What AlphaDropout breaks, and why it is not the default."""

    def gap(options):
        torch.manual_seed(0)
        x = torch.randn(320, 20)
        time_bin, event = torch.randint(4, (320,)), torch.rand(320) < 0.4
        net = SnnNetwork([ModalitySpec("x", "vector", 20)], 4, options)
        optimizer = torch.optim.AdamW(net.parameters(), lr=5e-4)

        def nll(rows):
            logits = net.head(net.blocks(x[rows]))
            return discrete_hazard_nll(logits, time_bin[rows], event[rows]).mean()

        for rows in [rows for _ in range(4) for rows in torch.randperm(320).split(16)]:
            optimizer.zero_grad()
            nll(rows).backward()
            optimizer.step()
        everyone = torch.arange(320)
        with torch.no_grad():
            with_dropout = nll(everyone).item()
            net.eval()
            return nll(everyone).item() - with_dropout

    assert gap(SnnOptions()) < 0.05
    assert gap(PUBLISHED) > 0.2
