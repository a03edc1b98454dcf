"""What holds for every published and uni-modal network: batches, masks, gradients, training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fusionbench import DataError, PreparedBag, PreparedCase
from fusionbench.core.protocol import TrainRecipe
from fusionbench.execution.fit_context import Context, Restore
from fusionbench.testing.toys import toy_case_set, toy_task
from tests.speed.made import logits
from tests.unit.network_cases import CASES, MODELS, close

CPU = torch.device("cpu")
WITHOUT_ATTENTION = {"snn", "mean-pool", "deepsets", "porpoise-snn", "mcat-omic"}
NATIVE = [n for n, made in MODELS.items() if made.model().missing == "native"]
BESIDE = [n for n in MODELS if n.split()[0] == "porpoise" or (n.endswith(("concat", "bilinear")) and "mcat" not in n)]
"""Models with a branch of their own for the vectors beside the bag."""


@pytest.fixture(params=MODELS, name="built")
def built_(request):
    made = MODELS[request.param]
    return made.network(), made.batch


def cancelled(net):
    """Parameters that no logit depends on: a softmax cancels the bias of its scores; of one token, it is 1.

    Nor does one depend on heads that are trained by a loss of their own. A bias of keys adds the same to all scores.
    """
    single = len(getattr(net, "groups", "several")) == 1
    idle = ("pool.score.bias", "instance.heads.weight", "instance.heads.bias")
    if getattr(net, "who", "") == "ilra":
        idle += (".key.bias",)
    return {n for n, _ in net.named_parameters() if n.endswith(idle) or (single and ".pool." in n)}


def test_logits_are_finite_and_distinct(built):
    net, batch = built
    made = logits(net, batch())
    assert made.shape == (5, 4)
    assert made.isfinite().all()
    assert len({round(x, 9) for x in made[:, 0].tolist()}) == 5


def test_neither_batch_mates_nor_order_matter(built):
    net, batch = built
    together = logits(net, batch())
    for i, case in enumerate(CASES):
        turned = {k: replace(b, values=b.values.flip(0)) for k, b in case.bags.items()}
        close(logits(net, batch(replace(case, bags=turned)))[0], together[i])
    close(logits(net, batch(*CASES[::-1])), together.flip(0))


def test_what_is_behind_the_mask_has_no_influence(built):
    net, batch = built[0], built[1]()
    for garbage in (9.0, -1e6):
        bags = {k: replace(b, values=torch.where(b.mask[..., None], b.values, garbage)) for k, b in batch.bags.items()}
        spoiled = replace(batch, bags=bags)
        close(logits(net, spoiled), logits(net, batch))
        if hasattr(net, "attention"):
            for name, weights in net.attention(batch).items():
                close(net.attention(spoiled)[name], weights)


def test_every_modality_changes_the_logits_through_real_instances_only(built):
    net, batch = built[0], built[1]()
    bags = {k: replace(b, values=b.values.clone().requires_grad_()) for k, b in batch.bags.items()}
    logits(net, replace(batch, bags=bags)).square().sum().backward()
    for bag in bags.values():
        assert (bag.values.grad.any(dim=2) == bag.mask).all()


def test_every_parameter_learns_but_what_softmax_cancels(built):
    net, batch = built
    logits(net, batch()).square().sum().backward()
    assert {n for n, p in net.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12} <= cancelled(net)


def test_dropout_is_on_in_training_only(built):
    net, batch = built[0], built[1]()
    assert torch.equal(logits(net, batch), logits(net, batch))
    net.train()
    assert not torch.equal(logits(net, batch), logits(net, batch))


def test_half_precision_inside_gives_about_the_same(built):
    net, batch = built[0].float(), built[1]()
    batch = replace(batch, bags={k: replace(b, values=b.values.float()) for k, b in batch.bags.items()})
    with torch.autocast("cpu", torch.bfloat16):
        rough = logits(net, batch).float()
    torch.testing.assert_close(rough, logits(net, batch), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", [n for n in MODELS if n.split()[0] not in WITHOUT_ATTENTION])
def test_attention_sums_to_one_over_the_real_instances(name):
    made = MODELS[name]
    batch = made.batch()
    maps = made.network().attention(batch)
    for bag, weights in ((batch.bags[n], maps[n]) for n, spec in made.specs.items() if spec.kind != "vector"):
        assert weights.shape[::3] == (5, bag.mask.shape[1])
        by_item = weights.movedim(-1, 1)
        assert not by_item[~bag.mask].any()
        assert (by_item[bag.mask] > 0).all()
    for rows in maps.values():
        total = rows.sum(dim=-1)
        close(total, torch.ones_like(total))


@pytest.mark.parametrize("name", [n for n in MODELS if n.split()[0] in WITHOUT_ATTENTION])
def test_what_has_no_attention_says_so(name):
    assert not hasattr(MODELS[name].network(), "attention")


@pytest.mark.parametrize("name", [n for n, made in MODELS.items() if made.model().missing == "impute"])
def test_a_missing_modality_is_an_error_that_names_the_case(name):
    made, who = MODELS[name], name.split()[0]
    for lost in made.specs:
        half = PreparedCase("half", {k: v for k, v in CASES[0].bags.items() if k != lost})
        with pytest.raises(DataError, match=f"case 'half' has no '{lost}': {who} needs it, or an imputed one"):
            made.network()(made.batch(CASES[0], half))


@pytest.mark.parametrize("name", NATIVE)
def test_a_case_without_a_modality_is_the_same_alone_and_among_others(name):
    made, net = MODELS[name], MODELS[name].network()
    full, names = logits(net, made.batch(CASES[0])), ", ".join(made.specs)
    for lost in made.specs:
        half = PreparedCase("half", {k: v for k, v in CASES[0].bags.items() if k != lost})
        alone = logits(net, made.batch(half))
        close(logits(net, made.batch(CASES[1], half, CASES[2]))[1:2], alone)
        assert not torch.allclose(alone, full)
        for weights in net.attention(made.batch(half)).values():
            assert weights.isfinite().all()
    if name.startswith("multimodn"):  # its start is a prediction: tests/unit/plugins/test_multimodn.py
        return
    with pytest.raises(DataError, match=f"case 'bare' has none of {names}: leave it out, or give it one of them"):
        logits(net, made.batch(half, PreparedCase("bare", {})))


@pytest.mark.parametrize("name", MODELS)
def test_trains_and_comes_back_equal_from_its_state(name):
    model, modalities = MODELS[name].model(), tuple(MODELS[name].specs)
    train = toy_case_set(24, modalities=modalities, missing=0.2, impute=True)
    val = toy_case_set(12, seed=1, modalities=modalities)
    task, recipe = toy_task(train), TrainRecipe(epochs=2, lr=3e-3, batch_size=8)
    context = Context(task, train.specs, 5, CPU, recipe, {})
    torch.manual_seed(0)
    predictor = model.fit(train, val, context)
    losses = [value for _, split, quantity, value in context.history if (split, quantity) == ("train", "loss")]
    assert len(losses) == 2
    torch.manual_seed(0)
    start = model.build(task, train.specs)
    state = predictor.state()
    still = {n for n, p in start.named_parameters() if np.array_equal(state[f"module.{n}"], p.detach())}
    assert still <= cancelled(start)
    assert predictor.notes == getattr(start, "notes", ())
    again = model.restore(state, Restore(task, train.specs, CPU, {}, recipe))
    new = val.without_targets()
    np.testing.assert_array_equal(again.predict(new).risk, predictor.predict(new).risk)
    assert len(set(again.predict(new).risk)) == 12
    assert {k: v.tobytes() for k, v in again.state().items()} == {k: v.tobytes() for k, v in state.items()}
    if (attention := predictor.attention(new)) is not None:
        for bag, seen in attention.items():
            assert torch.equal(again.attention(new)[bag].weights, seen.weights)


@pytest.mark.parametrize("name", BESIDE)
def test_fusion_takes_the_vectors_in_the_suites_order(name):
    made = MODELS[name]
    net, batch = made.network(), made.batch()
    seen = {}
    net.omic.register_forward_pre_hook(lambda _, args: seen.update(x=args[0]))
    logits(net, batch)
    named = [n for n, spec in made.specs.items() if spec.kind == "vector"]
    assert torch.equal(seen["x"], torch.cat([batch.bags[n].values[:, 0] for n in named], dim=1))


@pytest.mark.parametrize("name", MODELS)
def test_a_single_instance_is_a_bag_like_any_other(name):
    one = {k: PreparedBag(b.values[:1], None, (1, 1) if k == "map" else None) for k, b in CASES[0].bags.items()}
    assert logits(MODELS[name].network(), MODELS[name].batch(PreparedCase("one", one))).isfinite().all()
