import pytest
import torch
from fusionbench_mbt import Mbt, MbtOptions
from pydantic import ValidationError

from fusionbench import PreparedBag, PreparedCase
from fusionbench.data.collate import collate
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, OMIC, TASK, named

ALL = named(CLINICAL, IMAGE, OMIC)
SMALL = {"width": 8, "heads": 2, "bag_tokens": 0}


def build(specs=ALL, **options):
    torch.manual_seed(0)
    net = Mbt(MbtOptions(**{**SMALL, **options})).build(TASK, specs).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return net


def with_other_image(case):
    return PreparedCase(case.id, {**case.bags, "image": PreparedBag(3 - case.bags["image"].values)})


def moved(net):
    """Which modalities' tokens after the last layer change with the image of a case."""
    before, after = (net.states(collate([case], ALL)) for case in (CASES[2], with_other_image(CASES[2])))
    return [name for name, a, b in zip(ALL, before, after, strict=True) if not torch.allclose(a.values, b.values)]


@pytest.mark.parametrize(
    ("layers", "fusion_layer", "reached"),
    [
        (3, 3, ["image"]),
        (3, 2, ["image"]),  # what the only layer with exchange writes is read by no other
        (3, 1, ["clinical", "image", "omic"]),
        (2, 0, ["clinical", "image", "omic"]),
    ],
)
def test_modalities_meet_in_the_bottlenecks_alone_a_layer_later(layers, fusion_layer, reached):
    net = build(layers=layers, fusion_layer=fusion_layer)
    assert moved(net) == reached
    assert (net.bottlenecks is None) == (fusion_layer == layers)


def test_a_modality_alone_is_a_transformer_with_tokens_of_its_own():
    net, image = build(), build(named(IMAGE))
    for part in ("embed", "blocks"):
        getattr(image, part)[0].load_state_dict(getattr(net, part)[1].state_dict())
    image.classes.data, image.bottlenecks.data = net.classes.data[1:2], net.bottlenecks.data
    alone = PreparedCase("alone", {"image": CASES[2].bags["image"]})
    together = net.states(collate([CASES[0], alone], ALL))[1].values[1]
    torch.testing.assert_close(image.states(collate([alone], named(IMAGE)))[0].values[0], together)


def test_a_missing_modality_is_left_out_of_both_means():
    net = build()
    half = PreparedCase("half", {name: bag for name, bag in CASES[1].bags.items() if name != "image"})
    states = net.states(collate([CASES[0], half], ALL))
    assert [state.source.rows.tolist() for state in states] == [[0, 1], [0], [0, 1]]
    ends = torch.stack([net.head(net.norm(states[m].values[1, 0])) for m in (0, 2)])
    torch.testing.assert_close(net(collate([CASES[0], half], ALL))[1], ends.mean(dim=0))


def test_sharing_has_one_set_of_layers():
    shared, own = build(sharing=True), build()
    assert (len(shared.blocks), len(own.blocks)) == (1, 3)


def test_the_mean_readout_is_over_all_tokens_that_a_case_has():
    net = build(readout="mean", layers=1, fusion_layer=1)
    case = CASES[1]
    states = net.states(collate([case, CASES[4]], ALL))
    tokens = torch.cat([state.values[0][state.mask[0]] for state in states])
    assert len(tokens) == 1 + 3 + 1
    torch.testing.assert_close(net(collate([case, CASES[4]], ALL))[0], net.head(net.norm(tokens).mean(dim=0)))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"supervised": "each", "readout": "mean"}, "supervised=each needs logits of each modality: readout=class"),
        ({"width": 6, "heads": 4}, r"width \(6\) must be a multiple of heads \(4\)"),
        ({"fusion_layer": 4}, r"fusion_layer \(4\) is at most layers \(3\)"),
        ({"bottlenecks": 0}, "greater than or equal to 1"),
        ({"readout": "last"}, "'class' or 'mean'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"head_scale": -1}, "greater than or equal to 0"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        MbtOptions(**options)


def test_each_modality_may_have_a_loss_of_its_own_and_their_mean_is_trained():
    net = build(supervised="each", dropout=0.0).train()
    batch = collate(CASES, ALL)
    out = net(batch)
    logits, steps = net.eval()(batch), out.step_logits
    assert torch.equal(out.logits, logits)
    assert dict(out.weights) == {"loss": 0.0}
    assert steps.names == tuple(ALL)
    assert torch.equal(steps.taken, torch.stack([batch.bags[name].present for name in steps.names], dim=1))
    own = steps.logits * steps.taken.unsqueeze(-1)
    torch.testing.assert_close(own.sum(dim=1) / steps.taken.sum(dim=1, keepdim=True), logits)
    assert isinstance(build().train()(batch), torch.Tensor)
