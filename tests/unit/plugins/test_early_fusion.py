from dataclasses import replace

import pytest
import torch
from fusionbench_early_fusion.model import EarlyFusion
from fusionbench_early_fusion.options import EarlyFusionOptions
from fusionbench_healnet import HealNet
from pydantic import ValidationError

from fusionbench import Bag, Batch, DataError, ModalitySpec, PreparedBag, PreparedCase, Task
from fusionbench.data.collate import collate

SPECS = {
    "clinical": ModalitySpec("clinical", "vector", 3),
    "omic": ModalitySpec("omic", "vector", 6),
    "image": ModalitySpec("image", "bag", 5),
}
TASK = Task(n_outputs=4, edges=(1.0, 2.0, 3.0))
LAYOUTS = ("flat", "tokens")


def prepared(id_, seed, length=7):
    g = torch.Generator().manual_seed(seed)
    sizes = {"clinical": (1, 3), "omic": (1, 6), "image": (length, 5)}
    return PreparedCase(id_, {name: PreparedBag(torch.randn(*size, generator=g)) for name, size in sizes.items()})


CASES = tuple(prepared(f"case-{i}", i, length=3 + i) for i in range(5))


def network(layout, **options):
    torch.manual_seed(0)
    return EarlyFusion(EarlyFusionOptions(layout=layout, head_scale=1.0, **options)).build(TASK, SPECS).eval()


def close(a, b):
    torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_finite_distinct_and_repeatable(layout):
    logits = network(layout)(collate(CASES, SPECS))
    assert logits.shape == (5, 4)
    assert logits.isfinite().all()
    assert len({round(x, 6) for x in logits[:, 0].tolist()}) == 5
    assert torch.equal(logits, network(layout)(collate(CASES, SPECS)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_neither_batch_mates_nor_padding_nor_order_matter(layout):
    net, batch = network(layout), collate(CASES, SPECS)
    together = net(batch)
    for i, case in enumerate(CASES):
        turned = replace(case, bags={**case.bags, "image": PreparedBag(case.bags["image"].values.flip(0))})
        close(net(collate([turned], SPECS))[0], together[i])
    bag = batch.bags["image"]
    garbage = torch.where(bag.mask[..., None], bag.values, 9.0)
    close(net(replace(batch, bags={**batch.bags, "image": replace(bag, values=garbage)})), together)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_modality_and_every_parameter_counts(layout):
    net, batch = network(layout), collate(CASES, SPECS)
    bags = {k: replace(b, values=b.values.clone().requires_grad_()) for k, b in batch.bags.items()}
    net(replace(batch, bags=bags)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []
    for bag in bags.values():
        assert (bag.values.grad.any(dim=2) == bag.mask).all()


def test_flat_is_one_token_of_vectors_and_bag_means():
    net, batch = network("flat"), collate(CASES, SPECS)
    vectors = [batch.bags[name].values[:, 0] for name in ("clinical", "omic")]
    means = torch.stack([case.bags["image"].values.mean(dim=0) for case in CASES])
    token = torch.cat([*vectors, means], dim=1).unsqueeze(1)
    fused = Batch(batch.ids, {"fused": Bag(token, torch.ones(5, 1, dtype=torch.bool))})
    assert isinstance(net.network, HealNet)
    close(net(batch), net.network(fused))
    assert not hasattr(net, "attention")


def test_flat_can_keep_more_of_a_bag_than_its_mean():
    net, batch = network("flat", reduce=("mean", "sd", "min", "max")), collate(CASES, SPECS)
    seen = {}
    net.network.register_forward_pre_hook(lambda _, args: seen.update(bag=args[0].bags["fused"]))
    net(batch)
    token = seen["bag"].values[:, 0]
    assert token.shape == (5, 3 + 6 + 4 * 5)
    for i, case in enumerate(CASES):
        x = case.bags["image"].values
        parts = [x.mean(dim=0), x.std(dim=0, correction=0), x.amin(dim=0), x.amax(dim=0)]
        close(token[i, 9:], torch.cat(parts))


def test_one_instance_has_no_spread_and_a_gradient_all_the_same():
    net, batch = network("flat", reduce=("sd",)), collate([prepared("one", 1, length=1)], SPECS)
    bag = replace(batch.bags["image"], values=batch.bags["image"].values.clone().requires_grad_())
    net(replace(batch, bags={**batch.bags, "image": bag})).sum().backward()
    assert bag.values.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reduce": ()}, "at least 1 item"),
        ({"reduce": ("mean", "mean")}, "names a statistic twice"),
        ({"reduce": ("median",)}, "'mean', 'sd', 'min' or 'max'"),
        ({"layout": "tokens", "reduce": ("sd",)}, "reduce belongs to layout=flat"),
    ],
)
def test_reduce_is_checked(options, reason):
    with pytest.raises(ValidationError, match=reason):
        EarlyFusionOptions(**options)


def test_flat_refuses_to_make_up_a_missing_modality():
    case = PreparedCase("half", {"omic": CASES[0].bags["omic"], "clinical": CASES[0].bags["clinical"]})
    with pytest.raises(DataError, match="case 'half' has no 'image'"):
        network("flat")(collate([CASES[0], case], SPECS))


def test_tokens_keep_the_instances_and_say_where_they_come_from():
    net, batch = network("tokens"), collate(CASES, SPECS)
    seen = {}
    net.network.register_forward_pre_hook(lambda _, args: seen.update(bag=args[0].bags["fused"]))
    net(batch)
    bag = seen["bag"]
    assert bag.values.shape == (5, 2 + 7, 6 + 3)
    assert torch.equal(bag.values[:, 0, :6], torch.nn.functional.pad(batch.bags["clinical"].values[:, 0], (0, 3)))
    assert torch.equal(bag.values[0, :, 6:].argmax(dim=1), torch.tensor([0, 1] + [2] * 7))
    assert torch.equal(bag.mask.sum(dim=1), torch.tensor([5, 6, 7, 8, 9]))


def test_tokens_attention_is_given_back_by_modality():
    batch = collate(CASES, SPECS)
    for name, weights in network("tokens").attention(batch).items():
        mask = batch.bags[name].mask
        assert weights.shape[-1] == mask.shape[1]
        assert not weights.movedim(-1, 1)[~mask].any()
        close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


def test_skips_a_single_modality():
    model = EarlyFusion(EarlyFusionOptions())
    assert model.skip(TASK, SPECS) is None
    assert model.skip(TASK, {"omic": SPECS["omic"]}) == "fuses two modalities or more; 'omic' is all there is"


def test_takes_healnets_options_but_does_not_cut_vectors():
    assert network("flat", preset="paper-ucec").network.latents.shape == (16, 65)
    assert network("tokens", preset="paper-kirp", layers=1).network.depth == 1
    with pytest.raises(ValidationError, match="tokens"):
        EarlyFusionOptions(tokens="feature")
