import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fusionbench_healnet import HealNet, Healnet, HealnetOptions
from fusionbench_healnet.attention import Attention, SingleTokenAttention, Source, reciprocal_deviation
from fusionbench_healnet.cutting import OTHERS, parts_of
from fusionbench_healnet.options import PRESETS
from fusionbench_healnet.tokens import Tokenizer
from pydantic import ValidationError

from fusionbench import Bag, Batch, DataError, ModalitySpec, PluginError, PreparedBag, PreparedCase, Task
from fusionbench.core.protocol import TrainRecipe
from fusionbench.data.collate import collate
from fusionbench.execution.training.loop import TorchPredictor, train_module
from fusionbench.testing.toys import toy_case_set, toy_task
from tests.golden.replay import read
from tests.golden.replay.healnet import load_official

GOLDEN = Path(__file__).parents[2] / "golden" / "healnet"
SPECS = {
    "omic": ModalitySpec("omic", "vector", 6, {"a": (0, 1, 2), "b": (2, 3)}),
    "image": ModalitySpec("image", "bag", 5),
    "map": ModalitySpec("map", "grid", 3, axes=2),
}
TASK = Task(n_outputs=4, edges=(1.0, 2.0, 3.0))
VARIANTS = {
    "default": {},
    "unshared": {"sharing": "none", "layers": 3},
    "tied": {"sharing": "official-tied", "layers": 3},
    "self-attention": {"self_attention": True, "self_heads": 2, "self_head_dim": 3},
    "feature tokens": {"tokens": "feature"},
    "group tokens": {"tokens": "group"},
    "normed gelu": {"token_norm": True, "activation": "gelu", "attention_activation": "leaky_relu"},
    "no positions": {"positions": "none", "latent_init": "uniform", "latent_std": 0.5},
    "official": {"preset": "official"},
}


def prepared(id_, seed, *, names=tuple(SPECS), length=7):
    g = torch.Generator().manual_seed(seed)
    shape = (2, length - 4)
    full = {
        "omic": PreparedBag(torch.randn(1, 6, generator=g)),
        "image": PreparedBag(torch.randn(length, 5, generator=g)),
        "map": PreparedBag(torch.randn(shape[0] * shape[1], 3, generator=g), shape=shape),
    }
    return PreparedCase(id_, {name: full[name] for name in names})


CASES = (
    prepared("whole", 1),
    prepared("no omic", 2, names=("image", "map"), length=9),
    prepared("omic only", 3, names=("omic",)),
    prepared("no image", 4, names=("omic", "map"), length=6),
    prepared("whole too", 5, length=5),
)


def network(specs=SPECS, **options):
    """With a head of full size, so that tolerances on logits mean something."""
    torch.manual_seed(0)
    return Healnet(HealnetOptions(**{"head_scale": 1.0, **options})).build(TASK, specs).eval()


def close(a, b, tolerance=2e-6):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=VARIANTS, name="variant")
def variant_(request):
    return VARIANTS[request.param]


def test_logits_are_finite_distinct_and_repeatable(variant):
    logits = network(**variant)(collate(CASES, SPECS))
    assert logits.shape == (5, 4)
    assert logits.isfinite().all()
    assert len({round(x, 6) for x in logits[:, 0].tolist()}) == 5
    assert torch.equal(logits, network(**variant)(collate(CASES, SPECS)))


def test_a_case_does_not_depend_on_its_batch_mates(variant):
    net = network(**variant)
    together = net(collate(CASES, SPECS))
    for i, case in enumerate(CASES):
        close(net(collate([case], SPECS))[0], together[i])


def test_padding_carries_nothing(variant):
    net, batch = network(**variant), collate(CASES, SPECS)
    bags = dict(batch.bags)
    for name in ("image", "map"):
        bag = bags[name]
        values = torch.cat(
            [torch.where(bag.mask[..., None], bag.values, 9.0), torch.full((5, 4, bag.values.shape[2]), -7.0)], 1
        )
        mask = torch.cat([bag.mask, torch.zeros(5, 4, dtype=torch.bool)], 1)
        coords = None if bag.coords is None else torch.nn.functional.pad(bag.coords, (0, 0, 0, 4))
        bags[name] = Bag(values, mask, coords, bag.shape)
    close(net(replace(batch, bags=bags)), net(batch))


def test_the_order_of_instances_does_not_matter_unless_positions_are_asked_for(variant):
    net, case = network(**variant), CASES[0]
    turned = replace(case, bags={**case.bags, "image": PreparedBag(case.bags["image"].values.flip(0))})
    a, b = net(collate([case], SPECS)), net(collate([turned], SPECS))
    if variant.get("preset") == "official":
        assert (a - b).abs().max() > 1e-4
    else:
        close(a, b)


def test_the_order_of_grid_cells_matters_and_their_coords_say_where_they_are():
    net, case = network(), CASES[0]
    cells = case.bags["map"].values
    batch, turned = (
        collate([replace(case, bags={**case.bags, "map": PreparedBag(v, shape=(2, 3))})], SPECS)
        for v in (cells, cells.flip(0))
    )
    assert (net(batch) - net(turned)).abs().max() > 1e-4
    grid = turned.bags["map"]
    moved = replace(turned, bags={**turned.bags, "map": replace(grid, coords=grid.coords.flip(1))})
    close(net(moved), net(batch))
    bare = replace(batch, bags={**batch.bags, "map": replace(batch.bags["map"], coords=None)})
    close(net(bare), net(batch))


@pytest.mark.parametrize(("small", "large"), [((3,), (5,)), ((2, 3), (3, 2)), ((2, 2, 3), (1, 4, 2))])
def test_grids_of_one_to_three_axes(small, large):
    """A signal, an image, a volume: of unequal extents in one batch, each as if it were alone."""
    specs = {"map": ModalitySpec("map", "grid", 3, axes=len(small))}
    g = torch.Generator().manual_seed(0)
    cases = [
        PreparedCase(str(shape), {"map": PreparedBag(torch.randn(math.prod(shape), 3, generator=g), shape=shape)})
        for shape in (small, large)
    ]
    net = network(specs)
    together = net(collate(cases, specs))
    for i, case in enumerate(cases):
        close(net(collate([case], specs))[0], together[i])
    turned = PreparedCase("turned", {"map": replace(cases[0].bags["map"], values=cases[0].bags["map"].values.flip(0))})
    assert (net(collate([turned], specs))[0] - together[0]).abs().max() > 1e-4


@pytest.mark.parametrize("hidden", SPECS)
def test_a_missing_modality_is_skipped_as_if_the_model_had_never_had_it(variant, hidden):
    """Its whole step: cross-attention, feed-forward, self-attention."""
    rest = {name: spec for name, spec in SPECS.items() if name != hidden}
    net, small = network(**variant), network(rest, **variant)
    small.load_state_dict(_without(net, list(SPECS).index(hidden), small.state_dict()))
    case = CASES[0]
    seen = PreparedCase(case.id, {name: bag for name, bag in case.bags.items() if name != hidden})
    close(net(collate([CASES[4], seen], SPECS))[1], small(collate([seen], rest))[0])
    assert (net(collate([case], SPECS)) - net(collate([seen], SPECS))).abs().max() > 1e-4


def _without(net, index, wanted):
    """The state of `net` for a network without its modality at `index`."""
    state = {}
    for name in wanted:
        parts = name.split(".")
        for i, part in enumerate(parts[:-1]):
            shared = part == "feed" and parts[0] == "layers" and len(net.layers[int(parts[1])].feed) == 1
            if part in ("cross", "feed", "tokenizers") and parts[i + 1].isdigit() and not shared:
                parts[i + 1] = str(int(parts[i + 1]) + (int(parts[i + 1]) >= index))
        state[name] = net.state_dict()[".".join(parts)]
    return state


def test_numbers_behind_a_mask_are_never_read():
    net, batch = network(), collate(CASES, SPECS)
    bags = {
        k: replace(b, values=torch.where(b.present[:, None, None], b.values, torch.nan)) for k, b in batch.bags.items()
    }
    net.train()
    torch.manual_seed(0)
    net(batch).sum().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    torch.manual_seed(0)
    net(replace(batch, bags=bags)).sum().backward()
    for p, g in zip(net.parameters(), expected, strict=True):
        assert torch.equal(p.grad, g)


def test_a_modality_that_no_case_has_gets_no_gradient():
    net = network()
    net(collate([CASES[2]], SPECS)).sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in net.layers[0].cross[1].parameters())
    assert net.layers[0].cross[0].value.weight.grad.any()


def test_a_case_without_any_modality_is_an_error_that_names_it():
    with pytest.raises(DataError, match=r"case 'empty' has none of omic, image, map"):
        network()(collate([CASES[0], PreparedCase("empty", {})], SPECS))


def test_every_parameter_learns(variant):
    net = network(**variant)
    net(collate(CASES, SPECS)).square().sum().backward()
    dead = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    if variant.get("preset") == "official":
        assert dead == {
            f"layers.{i}.cross.0.{part}" for i in range(2) for part in ("norm.weight", "norm.bias", "query.weight")
        }
    else:
        assert dead == set()


def test_one_token_attention_is_attention_with_one_token():
    options = HealnetOptions(token_norm=True, attention_dropout=0.4)
    torch.manual_seed(0)
    full, short = (kind(8, 6, 2, 4, options, norm_tokens=True) for kind in (Attention, SingleTokenAttention))
    short.load_state_dict(
        {k: v for k, v in full.state_dict().items() if k.split(".")[0] in ("norm_tokens", "out")}, strict=False
    )
    with torch.no_grad():
        short.value.weight.copy_(full.key_value.weight[8:])
    latents, token, mask = torch.randn(3, 5, 8), torch.randn(3, 1, 6), torch.ones(3, 1, dtype=torch.bool)
    results = []
    for block in (full, short):
        torch.manual_seed(1)
        memory = block.remember(Source(token, reciprocal_deviation(token)), latents=5, uses=1)
        results.append((block(latents, memory, mask), block.weights(latents, memory, mask)))
    close(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_shared_weights_do_not_grow_with_depth():
    count = {
        s: [sum(p.numel() for p in network(sharing=s, layers=n).parameters()) for n in (1, 2, 4)]
        for s in ("all", "none", "official-tied")
    }
    assert count["all"][0] == count["all"][1] == count["all"][2]
    step = count["none"][1] - count["none"][0]
    assert count["none"][2] == count["none"][0] + 3 * step
    assert count["official-tied"][1] == count["official-tied"][2] < count["none"][1]


def test_every_layer_updates_the_latents():
    batch = collate(CASES, SPECS)
    one, two = network(layers=1), network(layers=2)
    two.load_state_dict(one.state_dict())
    assert (one(batch) - two(batch)).abs().max() > 1e-4


@pytest.mark.parametrize("variant", ["default", "tied", "self-attention"])
def test_attention_sums_to_one_over_what_is_there(variant):
    batch = collate(CASES, SPECS)
    net = network(**VARIANTS[variant])
    maps = net.attention(batch)
    assert list(maps) == list(SPECS)
    for name, weights in maps.items():
        bag = batch.bags[name]
        assert weights.shape == (5, net.depth, net.heads, bag.mask.shape[1])
        assert not weights.movedim(-1, 1)[~bag.mask].any()
        close(weights.sum(dim=-1), bag.present.float()[:, None, None].expand(weights.shape[:-1]))
    assert (maps["image"][0, :, :, :7] - 1 / 7).abs().max() > 1e-3


def test_attention_finds_the_token_that_keys_point_to():
    net = network({"image": SPECS["image"]}, layers=1)
    with torch.no_grad():
        net.layers[0].cross[0].query.weight.zero_()
        flat = net.attention(collate([CASES[0]], {"image": SPECS["image"]}))["image"]
        close(flat, torch.full((1, 1, net.heads, 7), 1 / 7))


def test_attention_on_features_has_a_weight_each():
    batch = collate(CASES, SPECS)
    net, present = network(tokens="feature"), batch.bags["omic"].present.float()
    weights = net.attention(batch)["omic"]
    assert weights.shape == (5, net.depth, net.heads, 6)
    close(weights.sum(dim=-1), present[:, None, None].expand(weights.shape[:-1]))
    assert list(net.parts) == ["omic"]
    assert list(net.parts["omic"].values()) == [(i,) for i in range(6)]
    grouped = network(tokens="group")
    assert grouped.attention(batch)["omic"].shape[-1] == len(grouped.parts["omic"]) == 3


def test_group_tokens_lose_no_column():
    options = HealnetOptions(tokens="group")
    parts = parts_of(SPECS["omic"], options)
    assert list(parts.values()) == [(0, 1, 2), (2, 3), (4, 5)]
    assert list(parts)[-1] == OTHERS
    assert parts_of(ModalitySpec("x", "vector", 3, {"all": (0, 1, 2), "none": ()}), options) == {}
    net, values = network({"omic": SPECS["omic"]}, tokens="group"), torch.zeros(1, 1, 6, requires_grad=True)
    net(Batch(("a",), {"omic": Bag(values, torch.ones(1, 1, dtype=torch.bool))})).sum().backward()
    assert values.grad.all()


def test_a_vector_without_groups_stays_one_token():
    tokens = Tokenizer(ModalitySpec("clinical", "vector", 3), HealnetOptions(tokens="group"))
    assert (tokens.count, tokens.dim) == (1, 3)


@pytest.mark.parametrize(
    ("options", "specs", "reason"),
    [
        ({}, ("omic", "image", "map"), None),
        ({"tokens": "feature"}, ("image",), "tokens=feature cuts vectors, and there is none"),
        ({"tokens": "group"}, ("image", "omic"), None),
        ({"tokens": "group"}, ("image", "plain"), "tokens=group needs feature groups, and no vector declares any"),
        *(
            ({"tokens": "group"}, names, "tokens=group: none of the 2 feature groups of 'bare' has a column")
            for names in (("image", "bare"), ("omic", "bare"))
        ),
        ({"tokens": "feature"}, ("bare",), None),
        (
            {"token_norm": True},
            ("thin",),
            "LayerNorm over the one channel of 'thin' would erase it: set token_norm=false",
        ),
        ({"token_norm": True, "positions": "all"}, ("thin",), None),
        ({}, ("thin",), None),
    ],
)
def test_skips_with_a_reason(options, specs, reason):
    known = {
        **SPECS,
        "plain": ModalitySpec("plain", "vector", 2),
        "bare": ModalitySpec("bare", "vector", 2, {"a": (), "b": ()}),
        "thin": ModalitySpec("thin", "bag", 1),
    }
    before = torch.get_rng_state()
    assert Healnet(HealnetOptions(**options)).skip(TASK, {name: known[name] for name in specs}) == reason
    assert torch.equal(torch.get_rng_state(), before)


def test_a_preset_sets_values_and_an_explicit_option_wins():
    blca = HealnetOptions(preset="paper-blca")
    assert (blca.layers, blca.latents, blca.latent_dim, blca.heads, blca.head_dim) == (2, 25, 119, 8, 16)
    assert HealnetOptions(preset="paper-kirp").layers == 5
    assert HealnetOptions(preset="paper-kirp", layers=2).layers == 2
    assert HealnetOptions.model_validate(blca.model_dump()) == blca
    assert all(HealnetOptions(preset=name).preset == name for name in PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_runs(preset):
    assert network(preset=preset)(collate(CASES, SPECS)).isfinite().all()


TABLE_5 = ("layers", "latents", "latent_dim", "heads", "head_dim")


@pytest.mark.parametrize(
    ("cohort", "positions", "parameters"),
    [
        ("blca", "all", 3_004_425),
        ("kirp", "all", 9_959_560),
        ("ucec", "all", 14_658_054),
        ("blca", "none", 2_999_265),
        ("kirp", "none", 9_937_860),
        ("ucec", "none", 14_625_054),
    ],
)
def test_table_5_with_the_repositorys_wiring_has_as_many_parameters(cohort, positions, parameters):
    """As counted on the repository's module with 8 heads, 2191 omic columns and patches of 2048 features."""
    specs = {"omic": ModalitySpec("omic", "vector", 2191), "image": ModalitySpec("image", "bag", 2048)}
    sizes = {name: PRESETS[f"paper-{cohort}"][name] for name in TABLE_5}
    net = network(specs, preset="official", sharing="none", positions=positions, **sizes)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_trains_with_missing_modalities_and_comes_back_from_its_state():
    train, val = toy_case_set(24, missing=0.4), toy_case_set(12, seed=1, missing=0.4)
    task, recipe, cpu = toy_task(train), TrainRecipe(epochs=4, lr=3e-3, batch_size=8), torch.device("cpu")
    module, losses = Healnet(HealnetOptions()).build(task, train.specs), []
    logged = {"seed": 0, "device": cpu, "log": lambda _, values: losses.append(values["train/loss"])}
    predictor = train_module(module, task, train.specs, train, val, recipe, **logged)
    assert losses[-1] < losses[0]
    blank = Healnet(HealnetOptions()).build(task, train.specs)
    again = TorchPredictor.restore(blank, predictor.state(), task, train.specs, recipe, cpu)
    new = val.without_targets()
    np.testing.assert_array_equal(again.predict(new).risk, predictor.predict(new).risk)
    assert {name: len(seen.weights) for name, seen in again.attention(new).items()} == {"omic": 12, "image": 12}


@pytest.mark.parametrize(
    "options", [{"preset": "paper"}, {"latent": 3}, {"temperature": 0}, {"feedforward_dropout": 1}, {"self_heads": 2}]
)
def test_options_are_strict(options):
    with pytest.raises(ValidationError):
        HealnetOptions(**options)


def test_the_default_starts_with_nearly_equal_risks_but_learns_everywhere():
    net, batch = network(head_scale=HealnetOptions().head_scale), collate(CASES, SPECS)
    assert 0 < net(batch).std(dim=0).max() < 0.01
    assert net(batch).abs().max() < 0.05
    net(batch).sum().backward()
    assert all(p.grad.any() for p in net.parameters())


def test_temperature_and_dropout_do_what_they_say():
    batch = collate(CASES, SPECS)
    soft, sharp = network(temperature=1.0), network(temperature=0.25)
    assert (soft.attention(batch)["image"] - sharp.attention(batch)["image"]).abs().max() > 1e-4
    for kind in ("attention_dropout", "feedforward_dropout"):
        net = network(**{"attention_dropout": 0.0, "feedforward_dropout": 0.0, kind: 0.5})
        assert torch.equal(net(batch), net(batch))
        net.train()
        assert not torch.equal(net(batch), net(batch))
    still = network(attention_dropout=0.0, feedforward_dropout=0.0).train()
    assert torch.equal(still(batch), still(batch))


def official(name):
    file = read(GOLDEN / f"{name}.npz")
    return file, *load_official(file.config, file.under("param/"))


def test_attention_is_the_repositorys_averaged_over_latents():
    """Call by call, and everything else of the repository's files, it is compared in test_replay.py."""
    file, net, adapter = official("04_two_mod_paperlike_b3")
    maps = net.attention(adapter({name: torch.tensor(a) for name, a in file.under("input/").items()}))
    for m, modality in enumerate(file.config["modalities"]):
        calls = [a for name, a in file.under("attn/").items() if name.endswith(f".{2 * m}.fn")]
        heads = file.config["kwargs"]["x_heads"]
        theirs = np.stack([a.reshape(3, heads, *a.shape[1:]).mean(2) for a in calls], axis=1)
        close(maps[modality], torch.from_numpy(theirs))


def test_one_vector_token_of_the_official_preset_is_the_repositorys():
    file, bags, adapter = official("01_tab_one_token_b3")
    options = HealnetOptions(preset="official", latents=5, latent_dim=8, heads=2, head_dim=4)
    net = HealNet([ModalitySpec("omic", "vector", 12)], 4, options).eval()
    net.load_state_dict(bags.state_dict())
    batch = adapter({"omic": torch.from_numpy(file.arrays["input/omic"])})
    vector = Bag(batch.bags["omic"].values, batch.bags["omic"].mask)
    close(net(Batch(batch.ids, {"omic": vector})), torch.from_numpy(file.arrays["output"]))


def test_official_weights_must_fit_and_all_misfits_are_named_at_once():
    file, *_ = official("03_bag_only_b3")
    state = file.under("param/")
    state["layers.9.0.norm.weight"] = state.pop("layers.0.0.norm.weight")
    state |= {"latents": state["latents"][:2], "to_logits.2.bias": np.full(4, np.nan, dtype=np.float32)}
    with pytest.raises(PluginError) as caught:
        load_official(file.config, state)
    for part in (
        "missing 'layers.0.0.norm.weight'",
        "left over 'layers.9.0.norm.weight'",
        "'latents' has shape (2, 8), expected (5, 8)",
        "'to_logits.2.bias' holds NaN or inf",
    ):
        assert part in str(caught.value)


def test_the_names_of_a_tied_weight_must_agree():
    file, *_ = official("08_tied_depth4_b1")
    state = file.under("param/")
    state["layers.3.0.fn.to_q.weight"] = state["layers.3.0.fn.to_q.weight"] + 1
    with pytest.raises(PluginError, match=r"tied weights differ: 'layers.3.0.fn.to_q.weight' from 'layers.1.0.fn.to_q"):
        load_official(file.config, state)


def test_a_network_without_head_gives_its_latents():
    file, *_ = official("03_bag_only_b1")
    config = {**file.config, "kwargs": {**file.config["kwargs"], "final_classifier_head": False}}
    state = {name: a for name, a in file.under("param/").items() if not name.startswith("to_logits")}
    net, adapter = load_official(config, state)
    seen = adapter.observe(net, {"wsi": torch.from_numpy(file.arrays["input/wsi"])})
    close(seen["output"], torch.from_numpy(file.arrays["embedding"]))


@pytest.mark.parametrize(
    ("name", "config", "inputs", "reason"),
    [
        ("05_two_mod_gelu_selfattn_b1", {"present": [True, False]}, {}, "swallows an exception"),
        ("11_bag_masked_b1", {}, {"mask": torch.ones(1, 4, dtype=torch.bool)}, "drops that modality without a word"),
        ("03_bag_only_b1", {}, {"wsi": torch.ones(1, 2, 2, 16)}, "'wsi' has 2 axes, the config says 1"),
    ],
)
def test_what_the_repository_swallows_is_refused(name, config, inputs, reason):
    file, *_ = official(name)
    given = {"wsi": torch.from_numpy(file.arrays["input/wsi"]), **inputs}

    def run():
        net, adapter = load_official({**file.config, **config}, file.under("param/"))
        return adapter.observe(net, given)

    with pytest.raises(PluginError, match=reason):
        run()


def test_another_config_is_not_healnets():
    assert load_official({"cls": "SNN"}, {}) is None
