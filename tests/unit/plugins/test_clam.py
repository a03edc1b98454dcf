from dataclasses import replace

import pytest
import torch
from fusionbench_clam import Clam, ClamOptions
from fusionbench_clam.instances import InstanceLoss, smooth_svm
from fusionbench_unimodal import Abmil, AbmilOptions
from pydantic import ValidationError
from torch.nn import functional as F

from fusionbench import ClassTargets, DataError, Outputs, SurvivalTargets, Task
from fusionbench.core.protocol import TrainRecipe
from fusionbench.data.collate import collate
from fusionbench.execution.fit_context import Context
from fusionbench.testing.toys import toy_case_set, toy_task
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, OMIC, TASK, named

BAG, SMALL = named(IMAGE), {"width": 8, "attention_width": 4}
BINARY = Task("binary", 2, classes=("no", "yes"))
LENGTHS = [1, 3, 5, 7, 9]
FOLLOWED = SurvivalTargets(torch.arange(5.0), torch.tensor([1, 0, 1, 1, 0]).bool(), torch.tensor([0, 1, 2, 3, 1]))


def build(specs=BAG, task=TASK, **options):
    torch.manual_seed(0)
    return Clam(ClamOptions(**{**SMALL, **options})).build(task, specs)


def batch_of(specs=BAG, targets=None):
    return replace(collate(CASES, specs), targets=targets)


def by_hand(loss, instances, scores, length, own):
    """Of one case, head by head."""
    o, total = loss.options, 0.0
    most = min(o.instances, length) if o.overlap else min(o.instances, length // 2)
    for k in range(loss.classes):
        ranked = scores[:length, min(k, scores.shape[1] - 1)].argsort(descending=True)
        said = loss.heads(instances).unflatten(-1, (-1, 2))[:, k]
        rows, wanted = ranked[:most], torch.zeros(most, dtype=torch.int64)
        if k == own:
            rows, wanted = torch.cat([rows, ranked[length - most :]]), torch.cat([wanted + 1, wanted])
        if most and (k == own or o.subtyping):
            each = smooth_svm(said[rows], wanted) if o.instance_loss == "svm" else F.cross_entropy(said[rows], wanted)
            total = total + each.mean()
    return total / loss.classes if o.subtyping else torch.as_tensor(total)


@pytest.mark.parametrize("branches", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"subtyping": False},
        {"instance_loss": "svm", "instances": 2},
        {"overlap": True, "instances": 4},
        {"overlap": True, "instances": 3, "instance_loss": "svm", "subtyping": False},
    ],
    ids=str,
)
def test_the_loss_of_ragged_bags_is_that_of_each_alone(branches, options):
    g = torch.Generator().manual_seed(0)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    instances = torch.randn(5, 9, 8, generator=g).masked_fill(~mask.unsqueeze(2), 1e6)
    scores = torch.randn(5, 9, branches, generator=g).masked_fill(~mask.unsqueeze(2), 1e6)
    label = torch.tensor([0, 2, 1, 2, 0])
    torch.manual_seed(0)
    loss = InstanceLoss(8, 3, ClamOptions(instance="label", **{"instances": 3, **options}))
    found = loss(instances, scores, mask, label)
    each = zip(instances, scores, LENGTHS, label.tolist(), strict=True)
    torch.testing.assert_close(found, torch.stack([torch.as_tensor(by_hand(loss, *case)) for case in each]))
    assert (found[0] == 0) == (not options.get("overlap", False))  # one instance has no halves


def test_a_short_bag_is_split_in_halves():
    loss = InstanceLoss(8, 2, ClamOptions(instance="label", instances=3))
    instances, scores = torch.randn(1, 5, 8), torch.tensor([[[3.0], [1.0], [5.0], [2.0], [4.0]]])
    chosen = loss.chosen(instances, scores, torch.ones(1, 5, dtype=torch.bool))
    assert chosen.real.tolist() == [[True, True, False]]
    expected = [loss.heads(instances[0, rows]).unflatten(-1, (2, 2)) for rows in ([2, 4], [1, 3])]
    torch.testing.assert_close(chosen.most[0, :2], expected[0])
    torch.testing.assert_close(chosen.least[0, :2], expected[1])


@pytest.mark.parametrize(
    ("options", "reads", "heads", "silent"),
    [
        ({"instance": "label"}, True, 4, [1, 4]),
        ({"instance": "label", "count_censored": True}, True, 4, []),
        ({"instance": "event"}, True, 2, []),
        ({"instance": "bag"}, False, 1, []),
    ],
    ids=str,
)
def test_who_is_told_what(options, reads, heads, silent):
    net = build(instances=1, overlap=True, **options)
    assert net.reads_targets == reads
    assert net.instance.classes == heads
    out = net.train()(batch_of(targets=FOLLOWED if reads else None))
    assert isinstance(out, Outputs)
    assert out.weights == {"loss": 0.7, "instance": pytest.approx(0.3)}
    assert [i for i, x in enumerate(out.losses["instance"].tolist()) if x == 0] == silent
    assert isinstance(net.eval()(batch_of()), torch.Tensor)


def test_bins_are_told_where_the_loss_has_none():
    net = build(task=replace(TASK, n_outputs=1), instance="label", instances=1, branches="output").train()
    out = net(batch_of(targets=FOLLOWED))
    assert (out.logits.shape, net.instance.classes) == ((5, 1), 4)


def test_a_class_is_told_by_its_label():
    net = build(task=BINARY, instance="label", instances=1).train()
    net.embed[2].p = net.pool.dropout.p = 0.0
    label = torch.tensor([0, 1, 1, 0, 1])
    batch = batch_of(targets=ClassTargets(label))
    found, (instances, scores) = net(batch).losses["instance"], net.scored(batch)
    torch.testing.assert_close(found, net.instance(instances, scores, batch.bags["image"].mask, label))
    assert not torch.allclose(found, net.instance(instances, scores, batch.bags["image"].mask, 1 - label))


def test_instances_are_told_apart_in_the_embedding_and_not_in_attention():
    net = build(instance="label", instances=2).train()
    net(batch_of(targets=FOLLOWED)).losses["instance"].sum().backward()
    reached = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert reached == {f"{part}.{kind}" for part in ("embed.0", "instance.heads") for kind in ("weight", "bias")}


def test_one_attention_without_a_loss_on_instances_is_abmil():
    net, abmil = build().eval(), Abmil(AbmilOptions(**SMALL)).build(TASK, BAG).eval()
    abmil.load_state_dict(net.state_dict())
    torch.testing.assert_close(net(batch_of()), abmil(batch_of()))


@pytest.mark.parametrize(("outputs", "size", "count"), [(4, 256, 793_869), (3, 384, 923_786), (2, 256, 790_791)])
def test_it_has_as_many_parameters_as_published(outputs, size, count):
    spec, task = replace(IMAGE, dim=1024), Task("multiclass", outputs, classes=tuple("abcd"[:outputs]))
    one = Clam(ClamOptions(instance="label", attention_width=size)).build(task, named(spec))
    assert sum(p.numel() for p in one.parameters()) == count
    each = Clam(ClamOptions(instance="label", attention_width=size, branches="output")).build(task, named(spec))
    assert sum(p.numel() for p in each.parameters()) == count + (outputs - 1) * (size + 1)


def test_each_output_has_an_attention_of_its_own():
    net, batch = build(branches="output").eval(), batch_of()
    weights = net.attention(batch)["image"]
    assert weights.shape == (5, 1, 4, 9)
    pooled = torch.einsum("crn,cnw->crw", weights[:, 0], net.scored(batch)[0])
    torch.testing.assert_close(net(batch), (pooled * net.head.weight).sum(dim=2) + net.head.bias)
    assert build().attention(batch)["image"].shape == (5, 1, 1, 9)


def test_it_is_the_branch_of_a_fusion_and_keeps_its_loss():
    specs = named(CLINICAL, IMAGE, OMIC)
    net = build(specs, fusion="bilinear", branches="output", instance="event", instances=1, hidden=16)
    assert net.rho[0].in_features == 4 * 8
    out = net.train()(batch_of(specs, FOLLOWED))
    assert out.logits.shape == (5, 4)
    assert list(out.losses) == ["instance"]


def test_the_papers_start():
    net = build(start="xavier", instance="label")
    linear = [part for part in net.modules() if isinstance(part, torch.nn.Linear)]
    assert not any(part.bias.any() for part in linear)
    assert any(part.bias.any() for part in build().modules() if isinstance(part, torch.nn.Linear))


def test_the_loss_is_logged_in_training_alone():
    train, val = (toy_case_set(n, seed=n, modalities=("image",)) for n in (24, 12))
    model, task = Clam(ClamOptions(instance="event", instances=1, **SMALL)), toy_task(train)
    context = Context(task, train.specs, 5, torch.device("cpu"), TrainRecipe(epochs=1, batch_size=8), {})
    model.fit(train, val, context)
    assert {split for _, split, quantity, _ in context.history if quantity == "instance"} == {"train"}


@pytest.mark.parametrize(
    ("task", "specs", "options", "reason"),
    [
        (BINARY, BAG, {"instance": "event"}, "instance=event needs follow-up; of classes set instance=label"),
        (TASK, named(OMIC), {}, "takes bags and grids only"),
        (
            TASK,
            named(OMIC, IMAGE),
            {},
            "takes the bag 'image' alone: set fusion=concat or fusion=bilinear to add",
        ),
    ],
)
def test_what_it_cannot_take(task, specs, options, reason):
    model = Clam(ClamOptions(**options))
    assert model.skip(task, specs).startswith(reason)
    with pytest.raises(DataError, match=f"clam: {reason}"):
        model.build(task, specs)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"instances": 4}, "instances has no effect with instance=off: leave it out"),
        ({"instance": "bag", "subtyping": False}, "subtyping has no effect with instance=bag"),
        ({"instance": "event", "count_censored": True}, "count_censored has no effect with instance=event"),
        ({"instance": "label", "bag_weight": 1.0}, "less than 1"),
        ({"instance": "label", "instances": 0}, "greater than or equal to 1"),
        ({"branches": "two"}, "'one' or 'output'"),
        ({"scale": 4}, "scale has no effect with fusion=none"),
        ({"hidden": 64}, "hidden is of the layers behind a fusion"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        ClamOptions(**options)
