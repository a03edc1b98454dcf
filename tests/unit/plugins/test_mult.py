import pytest
import torch
from fusionbench_mult import Mult, MultOptions
from pydantic import ValidationError

from fusionbench import ModalitySpec, Task
from fusionbench.data.collate import collate
from tests.golden.replay import read, replay
from tests.golden.replay.mult import MultConfig
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, MAP, OMIC, TASK, named
from tests.unit.published_files import GOLDEN

ALL = named(CLINICAL, IMAGE, OMIC)
SMALL = {"width": 8, "heads": 2, "layers": 1, "memory_layers": 1}


def build(specs=ALL, **options):
    torch.manual_seed(0)
    return Mult(MultOptions(**{**SMALL, **options})).build(TASK, specs).eval()


@pytest.mark.parametrize(
    ("dims", "outputs", "count"), [((300, 74, 35), 1, 1_073_731), ((2183, 1024, 12), 4, 1_158_574)]
)
def test_mult_has_the_published_number_of_parameters(dims, outputs, count):
    specs = named(*(ModalitySpec(name, "bag", dim) for name, dim in zip("lav", dims, strict=True)))
    with torch.device("meta"):
        net = Mult(MultOptions(layers=5, bag_tokens=0)).build(Task(n_outputs=outputs), specs)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("order", False),
        ("causal", False),
        ("readout", "mean"),
        ("zero_is_padding", False),
        ("equal_width_as_is", False),
        ("target", ""),
    ],
)
def test_every_published_special_case_is_held_by_a_file(monkeypatch, option, value):
    published = MultConfig.options.fget
    off = {option: value, **({"zero_is_padding": False} if option == "order" else {})}
    monkeypatch.setattr(MultConfig, "options", property(lambda c: published(c).model_copy(update=off)))
    assert not all(replay(read(path)).passed for path in sorted((GOLDEN / "mult").glob("mult_[lz]*.npz")))


def test_one_target_alone_reads_all_others_and_makes_nothing_else():
    net = build(target="omic")
    assert [len(networks) for networks in net.read] == [2]
    assert net.head.in_features == 2 * 8
    assert set(net.attention(collate(CASES, ALL))) == {"clinical", "image"}


def test_order_is_read_on_demand_alone():
    specs = named(OMIC, IMAGE)
    batch = collate(CASES[3:4], specs)
    turned = collate([case_with_turned_bag(CASES[3])], specs)
    for options, ordered in (
        ({}, False),
        ({"bag_tokens": 0}, False),
        ({"bag_tokens": 0, "order": True}, True),
        ({"bag_tokens": 0, "causal": True}, True),
        ({"bag_tokens": 0, "readout": "last"}, True),
        ({"order": True, "causal": True, "readout": "last"}, False),  # the tokens are learned queries
    ):
        net = build(specs, **options)
        assert Mult(MultOptions(**{**SMALL, **options})).ordered_instances is ordered
        assert torch.allclose(net(batch), net(turned), rtol=1e-4, atol=1e-5) is not ordered


def case_with_turned_bag(case):
    bag = case.bags["image"]
    return type(case)(case.id, {**case.bags, "image": type(bag)(bag.values.flip(0))})


def test_of_one_token_queries_and_keys_learn_nothing():
    net = build(named(CLINICAL, OMIC))
    net(collate(CASES, named(CLINICAL, OMIC))).square().sum().backward()
    for name, parameter in net.named_parameters():
        if name.endswith("attend.project.weight"):
            query, key, value = parameter.grad.chunk(3)
            assert not query.any()
            assert not key.any()
            assert value.any()


def test_a_missing_modality_adds_nothing_or_a_learned_token():
    half = type(CASES[0])("half", {name: bag for name, bag in CASES[0].bags.items() if name != "image"})
    batch = collate([CASES[1], half], ALL)
    nothing, token = build(), build(absent="token")
    tokens = token.tokens(batch)["image"]
    assert tokens.mask[1].tolist() == [True] + [False] * 15
    assert torch.equal(tokens.values[1, 0], token.absent[1])
    assert not nothing.tokens(batch)["image"].mask[1].any()
    summary = nothing.summary(nothing.tokens(batch)).unflatten(1, (3, -1))
    assert not summary[1, 1].any()
    assert summary[1, [0, 2]].any(dim=1).all()


def test_attention_of_a_modality_that_no_other_can_read_is_even():
    alone = type(CASES[3])("alone", {"image": CASES[3].bags["image"]})
    weights = build(bag_tokens=0).attention(collate([alone], ALL))
    torch.testing.assert_close(weights["image"], torch.full((1, 1, 2, 7), 1 / 7))
    assert not weights["omic"].any()


@pytest.mark.parametrize(
    ("specs", "options", "reason"),
    [
        (named(IMAGE), {}, "fuses two modalities or more; 'image' is all there is"),
        (ALL, {"target": "tma"}, "target=tma is none of the modalities 'clinical', 'image', 'omic'"),
        (named(IMAGE, MAP), {}, None),
    ],
)
def test_what_cannot_be_fused_is_skipped_with_a_reason(specs, options, reason):
    assert Mult(MultOptions(**options)).skip(TASK, specs) == reason


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"width": 32}, r"width \(32\) must be a multiple of heads \(5\)"),
        ({"order": True, "width": 3, "heads": 1}, "order=true needs a width of at least 4, not 3"),
        ({"zero_is_padding": True}, "zero_is_padding is of order=true"),
        ({"layers": 0}, "greater than or equal to 1"),
        ({"bag_tokens": -1}, "greater than or equal to 0"),
        ({"readout": "first"}, "'mean' or 'last'"),
        ({"embedding_dropout": 1.0}, "less than 1"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        MultOptions(**options)
