import pytest
import torch
from fusionbench_lmf import EmbeddingOptions, Lmf, LmfOptions, LstmEmbedder
from fusionbench_lmf.embedding import CaseNorm
from fusionbench_lmf.network import LowRankFusion
from fusionbench_tfn import Tfn, TfnOptions
from fusionbench_tfn.network import outer_product
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fusionbench import Bag, DataError, ModalitySpec, PluginRef, discover
from fusionbench.core.protocol import TrainRecipe
from fusionbench.data.collate import collate
from fusionbench.execution.training.optimizers import parameter_groups
from fusionbench.suites.own_recipe import recipe_of
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, MAP, OMIC, TASK, named

SIX = [ModalitySpec(f"m{i}", "vector", 3 + i) for i in range(6)]


def vectors(*widths, cases=3):
    g = torch.Generator().manual_seed(0)
    return [torch.randn(cases, width, generator=g, dtype=torch.float64) for width in widths]


def fusion(widths, **options):
    torch.manual_seed(0)
    made = LowRankFusion(widths, 4, LmfOptions(**options)).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3))
def test_lmf_is_a_linear_map_of_the_outer_product_with_weights_of_low_rank(widths, rank):
    z, made = vectors(*widths), fusion(widths, rank=rank)
    there = [torch.ones(3, dtype=torch.bool)] * len(widths)
    whole = torch.zeros(4, outer_product(z).shape[1], dtype=torch.float64)
    for j in range(rank):
        for k in range(4):
            part = torch.ones(1, dtype=torch.float64)
            for factor in made.factors:
                part = torch.kron(part, factor[j, :, k])
            whole[k] += made.weights[0, j] * part
    torch.testing.assert_close(made(z, there), outer_product(z) @ whole.T + made.bias)


def test_the_outer_product_holds_the_constant_the_vectors_and_all_their_products():
    a, b = vectors(2, 3)
    product = outer_product([a, b]).unflatten(1, (3, 4))
    assert (product[:, 0, 0] == 1).all()
    assert torch.equal(product[:, 1:, 0], a)
    assert torch.equal(product[:, 0, 1:], b)
    assert torch.equal(product[:, 1:, 1:], a.unsqueeze(2) * b.unsqueeze(1))


def test_a_missing_modality_leaves_the_products_without_it():
    z, gone = vectors(2, 3), torch.tensor([True, False, True])
    z[1] = z[1].masked_fill(~gone[:, None], 0.0)
    assert not outer_product(z).unflatten(1, (3, 4))[1, :, 1:].any()
    present = [torch.ones(3, dtype=torch.bool), gone]
    zero, one = fusion((2, 3)), fusion((2, 3), absent="one")
    alone = zero.factor(0, z[0])[1] * zero.factors[1][:, 0]
    torch.testing.assert_close(zero(z, present)[1], zero.weights[0] @ alone + zero.bias[0])
    torch.testing.assert_close(one(z, present)[1], one.weights[0] @ one.factor(0, z[0])[1] + one.bias[0])


@pytest.mark.parametrize(("rank", "count"), [(1, 401), (4, 1_592), (8, 3_180), (16, 6_356)])
def test_lmf_has_the_published_number_of_parameters(rank, count):
    assert sum(p.numel() for p in fusion((32, 32, 32), rank=rank).parameters()) == count


@pytest.mark.parametrize(("width", "hidden", "count"), [(16, 32, 158_436), (32, 64, 2_304_452)])
def test_tfn_has_the_published_number_of_parameters(width, hidden, count):
    net = Tfn(TfnOptions(width=width, fusion_width=hidden)).build(TASK, named(*SIX[:3]))
    own = [p for name, p in net.named_parameters() if not name.startswith("embed.")]
    assert sum(p.numel() for p in own) == count


@pytest.mark.parametrize(("modalities", "width"), [(1, 16), (3, 16), (4, 15), (6, 5)])
def test_the_vectors_are_as_wide_as_the_product_allows(modalities, width):
    net = Tfn(TfnOptions()).build(TASK, named(*SIX[:modalities]))
    assert {embed.width for embed in net.embed} == {width}
    assert net.layers[0].in_features == (width + 1) ** modalities <= TfnOptions().max_product


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"width": 16},
            "the outer product of 6 vectors of width 16 has 24,137,569 numbers, max_product is 65,536: set width to 5 "
            "or less, or raise max_product",
        ),
        (
            {"max_product": 63},
            "the outer product of 6 vectors of width 1 has 64 numbers, max_product is 63: raise max_product",
        ),
        ({"max_product": 64}, None),
        ({"width": 5}, None),
    ],
)
def test_a_product_that_is_too_large_is_told_before_anything_is_computed(options, reason):
    model = Tfn(TfnOptions(**options))
    assert model.skip(TASK, named(*SIX)) == reason
    if reason:
        with pytest.raises(DataError, match="tfn: the outer product of 6 vectors"):
            model.build(TASK, named(*SIX))


def test_a_bounded_output_lies_within_three():
    net = Tfn(TfnOptions(bounded=True, head_scale=100)).build(TASK, named(CLINICAL, OMIC)).eval()
    logits = net(collate(CASES, named(CLINICAL, OMIC)))
    assert 2 < logits.abs().max() <= 3


def lmf(*specs, **options):
    torch.manual_seed(0)
    return Lmf(LmfOptions(**options)).build(TASK, named(*specs))


def test_batch_normalisation_takes_a_training_batch_of_one_case():
    net = lmf(CLINICAL, OMIC, batch_norm=True, dropout=0).train()
    one = collate(CASES[:1], named(CLINICAL, OMIC))
    seen = net(one)
    assert seen.isfinite().all()
    assert torch.equal(seen, net.eval()(one))
    norms = [part for part in net.modules() if isinstance(part, CaseNorm)]
    assert [int(norm.num_batches_tracked) for norm in norms] == [0, 0]
    net.train()(collate(CASES, named(CLINICAL, OMIC)))
    assert [int(norm.num_batches_tracked) for norm in norms] == [1, 1]


def test_the_lstm_reads_real_instances_in_their_order():
    torch.manual_seed(0)
    embed = LstmEmbedder(5, 4, EmbeddingOptions()).eval()
    x = torch.randn(1, 3, 5)
    padded, mask = torch.cat([x, torch.full((1, 2, 5), 9.0)], dim=1), torch.tensor([[True] * 3 + [False] * 2])
    whole = embed(Bag(x, mask[:, :3]))
    torch.testing.assert_close(embed(Bag(padded, mask)), whole)
    assert not torch.allclose(embed(Bag(x.flip(1), mask[:, :3])), whole)
    assert [Lmf(LmfOptions(bag=kind)).ordered_instances for kind in ("lstm", "attention", "mean")] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("bag", ["attention", "mean", "lstm"])
def test_every_kind_of_modality_is_embedded(bag):
    net = lmf(CLINICAL, IMAGE, MAP, bag=bag).eval()
    assert net(collate(CASES, named(CLINICAL, IMAGE, MAP))).isfinite().all()
    pooled = {"image", "map"} if bag == "attention" else set()
    assert set(net.attention(collate(CASES, named(CLINICAL, IMAGE, MAP)))) == pooled


def test_the_paper_sums_products_without_weights():
    assert not lmf(CLINICAL, OMIC, rank_weights="one").fusion.weights.requires_grad
    assert lmf(CLINICAL, OMIC).fusion.weights.requires_grad


@pytest.mark.parametrize(("start", "first"), [("one", True), ("xavier", False)])
def test_factors_start_with_one_or_as_published(start, first):
    factors = lmf(CLINICAL, OMIC, start=start, width=64, rank=16).fusion.factors
    assert all(bool((factor[:, 0] == 1).all()) == first for factor in factors)
    assert factors[0][:, 1:].std().item() == pytest.approx((2 / ((64 + 1 + 16) * 4)) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("options", "of", "reason"),
    [
        (LmfOptions, {"rank": 0}, "greater than or equal to 1"),
        (LmfOptions, {"bag": "max"}, "'attention', 'mean' or 'lstm'"),
        (LmfOptions, {"dropout": 1}, "less than 1"),
        (LmfOptions, {"post_fusion_dropout": 0.5}, "Extra inputs"),
        (TfnOptions, {"width": 0}, "greater than or equal to 1"),
        (TfnOptions, {"max_product": 1}, "greater than or equal to 2"),
        (TfnOptions, {"head_scale": 0}, "greater than 0"),
    ],
)
def test_options_are_strict(options, of, reason):
    with pytest.raises(ValidationError, match=reason):
        options(**of)


def test_the_factors_have_a_rate_of_their_own_in_the_published_recipe():
    """They come first in the published program's second group; w and b are with all else."""
    own = recipe_of(discover(), PluginRef.parse("lmf[recipe=own,factor_lr=0.003]"), TrainRecipe())
    groups = parameter_groups(lmf(OMIC, IMAGE), own)
    assert [(len(group["params"]), group["lr"]) for group in groups][1:] == [(2, 3e-3)]
    assert groups[0]["lr"] == own.lr == 5e-4
    assert {group["weight_decay"] for group in groups} == {2e-3}
    assert (own.optimizer, own.patience, own.schedule) == ("adam", 20, "constant")
