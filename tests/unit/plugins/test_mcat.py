from dataclasses import replace

import numpy as np
import pytest
import torch
from fusionbench_mcat import Mcat, McatOptions
from fusionbench_mcat.models import McatOmic, McatWsi
from fusionbench_mcat.options import McatWsiOptions
from pydantic import ValidationError
from torch.nn import functional as F

from fusionbench import DataError, ModalitySpec, PluginError
from fusionbench.data.collate import collate
from fusionbench.nn import Dropout
from tests.golden.replay.mcat import load_official
from tests.unit.network_cases import CASES, CLINICAL, GROUPED, IMAGE, MAP, TASK, named
from tests.unit.published_files import bilinear_state, golden, observed, plain_bilinear

BARE = replace(GROUPED, groups={"a": (), "b": ()})
ALL = (CLINICAL, GROUPED, IMAGE)
SMALL = {"group_widths": (16,), "feedforward": 24}


def build(specs=ALL, **options):
    torch.manual_seed(0)
    return Mcat(McatOptions(**options)).build(TASK, named(*specs)).eval()


@pytest.fixture
def batch():
    return collate(CASES, named(*ALL))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fusion", ["concat", "bilinear"])
def test_without_dropout_training_computes_what_evaluation_does(fusion, batch):
    net = build(fusion=fusion, dropout=0.0)
    seen = net(batch)
    with torch.inference_mode():
        assert torch.equal(net(batch), seen)
    assert torch.equal(net.train()(batch), seen)


def test_tokens_are_declared_groups_and_whole_vectors():
    net = build(specs=(GROUPED, IMAGE, CLINICAL))
    assert [(group.vector, group.columns) for group in net.groups] == [
        ("omic", (0, 1, 2)),
        ("omic", (2, 4)),
        ("", (6, 7, 8)),
    ]
    assert net.notes == (
        "'omic': no column for the feature groups none; left out",
        "'omic': 2 of 6 columns stand in no feature group; left out",
    )
    assert build(specs=(CLINICAL, IMAGE)).notes == ()


def test_columns_outside_all_groups_are_left_out_and_no_others(batch):
    values = batch.bags["omic"].values.clone().requires_grad_()
    net = build()
    net(replace(batch, bags={**batch.bags, "omic": replace(batch.bags["omic"], values=values)})).sum().backward()
    assert [bool(column.any()) for column in values.grad[:, 0].T] == [True, True, True, False, True, False]
    assert "columns" not in "".join(net.state_dict())


def test_one_group_is_every_column(batch):
    net = build(groups="one", **SMALL)
    assert [(group.vector, group.columns) for group in net.groups] == [("", tuple(range(9)))]
    assert net.notes == ()
    assert list(net.attention(batch)) == ["image"]
    assert net.coattention(batch).shape == (5, 1, 9)


def test_attention_says_where_each_modality_is_looked_at(batch):
    net = build()
    maps, mask = net.attention(batch), batch.bags["image"].mask
    assert {name: weights.shape for name, weights in maps.items()} == {"image": (5, 1, 1, 9), "omic": (5, 1, 1, 2)}
    assert net.parts == {"omic": {name: columns for name, columns in GROUPED.groups.items() if columns}}
    assert not maps["image"][:, 0, 0][~mask].any()
    for weights in maps.values():
        close(weights.sum(dim=-1), torch.ones(5, 1, 1))
        assert (weights >= 0).all()


def test_the_bags_attention_is_that_of_the_tokens_that_count(batch):
    net, bag = build(), batch.bags["image"]
    scores = net.coattention(batch)
    assert scores.shape == (5, 3, 9)
    assert torch.equal((scores == -torch.inf).all(dim=1), ~bag.mask)
    tokens = net.encode_groups(torch.cat([batch.bags[name].values[:, 0] for name in ("clinical", "omic")], dim=1))
    attended, _ = net.attend(tokens, net.embed(bag.values), bag.mask)
    weights = net.path.pool.scores(net.path.mix(attended)).softmax(dim=1)
    close(net.attention(batch)["image"][:, 0, 0], torch.einsum("ct,cti->ci", weights, scores.softmax(dim=2)))


PAIR = "needs one bag or grid (slide features, an image) and at least one vector (a table); "
MCAT, WSI, OMIC_ONLY = Mcat(McatOptions()), McatWsi(McatWsiOptions()), McatOmic(McatOmic.Options())
NO_GROUP = "none of the 2 feature groups of 'omic' matches a column: declare groups of its columns, or set groups=one"


@pytest.mark.parametrize(
    ("model", "specs", "reason"),
    [
        (MCAT, (IMAGE, GROUPED), None),
        (MCAT, (CLINICAL, MAP, GROUPED), None),
        (MCAT, (CLINICAL, GROUPED), PAIR + "there are only vectors: 'clinical', 'omic'"),
        (MCAT, (IMAGE,), PAIR + "there is no vector: 'image'"),
        (MCAT, (IMAGE, MAP, GROUPED), PAIR + "there are 2 bags or grids: 'image', 'map'"),
        (MCAT, (IMAGE, BARE, CLINICAL), NO_GROUP),
        (Mcat(McatOptions(groups="one")), (IMAGE, BARE, CLINICAL), None),
        (WSI, (MAP,), None),
        (WSI, (IMAGE, GROUPED), "takes the bag 'image' alone, not 'omic' beside it"),
        (OMIC_ONLY, (CLINICAL, GROUPED), None),
        (OMIC_ONLY, (CLINICAL, IMAGE), "takes vectors only; 'image' is a bag"),
    ],
)
def test_skips_with_a_reason(model, specs, reason):
    assert model.skip(TASK, named(*specs)) == reason


def test_groups_that_preprocessing_emptied_are_an_error():
    with pytest.raises(DataError, match=f"mcat: {NO_GROUP}"):
        build(specs=(IMAGE, BARE))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"fusion": "lrb"}, "'concat' or 'bilinear'"),
        ({"groups": "six"}, "'declared' or 'one'"),
        ({"groups": 6}, "'declared' or 'one'"),
        ({"gates": True}, "Extra inputs"),
        ({"dropout": 1.0}, "less than 1"),
        ({"group_widths": ()}, "at least 1 item"),
        ({"layers": 0}, "greater than or equal to 1"),
        ({"head_scale": 0}, "greater than 0"),
        ({"heads": 7}, r"group_widths \(256\) must be a multiple of heads \(7\)"),
        ({"fusion": "bilinear", "group_widths": (4,), "heads": 2}, r"group_widths \(4\) is divided by scale \(8\)"),
        ({"scale": 4}, "scale: of fusion=bilinear only"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        McatOptions(**options)


@pytest.mark.parametrize(
    ("options", "reason"), [({"rho": False}, "should be True"), ({"fusion": "concat"}, "should be 'none'")]
)
def test_the_image_only_row_is_one_network(options, reason):
    with pytest.raises(ValidationError, match=reason):
        McatWsiOptions(**options)


def test_size_sets_widths_and_an_explicit_one_wins():
    assert McatOptions(size="big").group_widths == (1024, 1024, 1024, 256)
    assert McatOptions(size="big", group_widths=(16,)).group_widths == (16,)
    wsi = McatWsiOptions(size="big", attention_width=8)
    assert (wsi.attention_width, wsi.hidden) == (8, 384)
    for options in (McatOptions(size="big"), wsi):
        assert type(options).model_validate(options.model_dump()) == options


def test_defaults_start_and_drop_out_as_published():
    net = build(fusion="bilinear")
    rates = {n: m.p for n, m in net.named_modules() if isinstance(m, (torch.nn.Dropout, torch.nn.AlphaDropout))}
    assert set(rates.values()) == {0.25}
    assert {"fusion.encode.2", "fusion.combine.2", "embed.2", "path.pool.dropout"} <= set(rates)
    assert isinstance(net.encode_groups.networks[0][0][2], torch.nn.AlphaDropout)
    assert net.attend.project.weight.abs().max() <= (6 / (256 + 768)) ** 0.5
    assert not net.attend.project.bias.any()
    assert not any(isinstance(m, torch.nn.Dropout) for m in build().fusion.modules())
    plain = build(dropout_kind="plain")
    assert isinstance(plain.encode_groups.networks[0][0][2], torch.nn.Dropout)


def test_the_head_can_start_small_and_nothing_else_changes():
    full, small = build(**SMALL).state_dict(), build(**SMALL, head_scale=0.01).state_dict()
    for name, values in full.items():
        assert torch.equal(small[name], values * 0.01 if name.startswith("head.") else values), name


def blca():
    """Six gene groups of the sizes that TCGA-BLCA has, and patches of 1024 features."""
    bounds = np.cumsum([0, 94, 334, 521, 468, 1496, 479])
    groups = {str(i): tuple(range(bounds[i], bounds[i + 1])) for i in range(6)}
    return named(ModalitySpec("omic", "vector", int(bounds[-1]), groups), ModalitySpec("image", "bag", 1024))


@pytest.mark.parametrize(
    ("model", "names", "count"),
    [
        (Mcat(McatOptions()), ("omic", "image"), 4_492_038),
        (Mcat(McatOptions(fusion="bilinear")), ("omic", "image"), 4_691_142),
        (McatWsi(McatWsiOptions()), ("image",), 920_069),
    ],
)
def test_full_size_has_the_published_number_of_parameters(model, names, count):
    with torch.device("meta"):
        net = model.build(TASK, {name: blca()[name] for name in names})
    assert sum(p.numel() for p in net.parameters()) == count


def test_the_uni_modal_rows_are_the_shared_networks_as_published():
    omic = McatOmic(McatOmic.Options()).build(TASK, named(ModalitySpec("omic", "vector", 2183)))
    assert sum(p.numel() for p in omic.parameters()) == 757_508
    torch.manual_seed(0)
    wsi = WSI.build(TASK, named(ModalitySpec("image", "bag", 400)))
    assert [type(layer) for layer in wsi.rho] == [torch.nn.Linear, torch.nn.ReLU, Dropout]
    assert wsi.embed[0].weight.abs().max() <= 400**-0.5  # torch's start is uniform


FILE, STATE, INPUTS = golden("mcat/mcat_concat")
CONFIG = FILE.config


def test_the_published_bilinear_fusion_is_the_formula():
    state = bilinear_state(STATE, (8, 8), skip=False)
    ours = observed(load_official({**CONFIG, "fusion": "bilinear"}, state), INPUTS)
    pooled = (FILE.arrays[f"mid/{side}_rho"][0] for side in ("path", "omic"))
    fused = plain_bilinear(state, *pooled, (True, True), skip=False)
    np.testing.assert_allclose(ours["mid/mm"], fused, rtol=1e-12)
    expected = state["classifier.weight"] @ fused + state["classifier.bias"]
    np.testing.assert_allclose(ours["output/logits"][0], expected, rtol=1e-12)


def plain_mcat(state, inputs, groups, heads):
    """The published network with fusion "concat", written down once more for one patient: logits (bin,)."""
    state, inputs = ({name: torch.from_numpy(x) for name, x in part.items()} for part in (state, inputs))

    def linear(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def attend(name, query, context, heads):
        weights, biases = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
        rows = zip((query, context, context), weights, biases, strict=True)
        q, k, v = (F.linear(x, w, b).unflatten(1, (heads, -1)).transpose(0, 1) for x, w, b in rows)
        seen = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1) @ v
        return linear(f"{name}.out_proj", seen.transpose(0, 1).flatten(start_dim=1))

    def pooled(side, x):
        for layer in sorted({name.split(".")[2] for name in state if name.startswith(f"{side}_transformer")}):
            name = f"{side}_transformer.layers.{layer}"
            x = norm(f"{name}.norm1", x + attend(f"{name}.self_attn", x, x, heads))
            x = norm(f"{name}.norm2", x + linear(f"{name}.linear2", linear(f"{name}.linear1", x).relu()))
        head = f"{side}_attention_head.attention"
        scores = linear(f"{head}_c", linear(f"{head}_a.0", x).tanh() * linear(f"{head}_b.0", x).sigmoid())
        return linear(f"{side}_rho.0", scores.softmax(dim=0).T @ x).relu()[0]

    def token(g):
        x = inputs[f"x_omic{g + 1}"]
        for layer in sorted({name.split(".")[2] for name in state if name.startswith(f"sig_networks.{g}.")}):
            x = F.elu(linear(f"sig_networks.{g}.{layer}.0", x))
        return x

    tokens = torch.stack([token(g) for g in range(groups)])
    patches = linear("wsi_net.0", inputs["x_path"]).relu()
    both = torch.cat([pooled("path", attend("coattn", tokens, patches, 1)), pooled("omic", tokens)])
    return linear("classifier", linear("mm.2", linear("mm.0", both).relu()).relu())


def of_groups(keep):
    """The state and the inputs with the groups `keep` instead of the six."""
    state = {name: x for name, x in STATE.items() if not name.startswith("sig_networks")}
    inputs = {"x_path": INPUTS["x_path"]}
    for i, g in enumerate(keep):
        mine = {n: x for n, x in STATE.items() if n.startswith(f"sig_networks.{g}.")}
        state |= {n.replace(f".{g}.", f".{i}.", 1): x for n, x in mine.items()}
        inputs[f"x_omic{i + 1}"] = INPUTS[f"x_omic{g + 1}"]
    return state, inputs, {"omic_sizes": [CONFIG["omic_sizes"][g] for g in keep]}


def big():
    """The state with four layers for each group."""
    rng, state = np.random.default_rng(0), {n: x for n, x in STATE.items() if not n.startswith("sig_networks")}
    for g, size in enumerate(CONFIG["omic_sizes"]):
        for i, (a, b) in enumerate(((size, 40), (40, 36), (36, 40), (40, 32))):
            state[f"sig_networks.{g}.{i}.0.weight"] = rng.normal(0, a**-0.5, (b, a))
            state[f"sig_networks.{g}.{i}.0.bias"] = rng.normal(0, 0.1, b)
    return state


def deeper():
    """The state with a third layer in each set transformer."""
    more = {name.replace("layers.1.", "layers.2."): 0.9 * x for name, x in STATE.items() if ".layers.1." in name}
    return {**STATE, **more}


@pytest.mark.parametrize(
    ("state", "inputs", "change"),
    [
        (STATE, INPUTS, {}),
        (STATE, INPUTS, {"nhead": 4}),
        (deeper(), INPUTS, {"layers": 3}),
        (big(), INPUTS, {}),
        of_groups([3, 0, 5]),
        of_groups([1]),
        of_groups([0, 1, 2, 3, 4, 5, 5, 4]),
    ],
)
def test_other_sizes_are_the_formula(state, inputs, change):
    config = {**CONFIG, **change}
    logits = observed(load_official(config, state), inputs)["output/logits"][0]
    expected = plain_mcat(state, inputs, len(config["omic_sizes"]), config["nhead"])
    np.testing.assert_allclose(logits, expected, rtol=1e-11)


def test_everything_that_does_not_fit_is_named_at_once():
    wrong = {name: x for name, x in STATE.items() if name != "coattn.in_proj_bias"}
    wrong |= {
        "extra.bias": np.zeros(3),
        "sig_networks.2.0.0.weight": STATE["sig_networks.2.0.0.weight"][:-1],
        "wsi_net.0.weight": STATE["wsi_net.0.weight"][:, :-1],
        "classifier.bias": np.full(4, np.nan),
    }
    with pytest.raises(PluginError) as caught:
        load_official(CONFIG, wrong)
    for part in (
        "missing 'coattn.in_proj_bias'",
        "left over 'extra.bias'",
        "'sig_networks.2.0.0.weight' has shape (31, 11), expected (32, 11)",
        "'wsi_net.0.weight' has shape (32, 39), expected (32, 40)",
        "'classifier.bias' holds NaN",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("key", ["fusion", "omic_sizes", "n_classes", "d_model", "wsi", "nhead", "dim_ff", "layers"])
def test_a_config_without_its_keys_names_them(key):
    with pytest.raises(PluginError, match=f"config of MCAT_Surv does not say what to build: {key} Field required"):
        load_official({k: v for k, v in CONFIG.items() if k != key}, STATE)


@pytest.mark.parametrize("change", [{"fusion": "lrb"}, {"nhead": 5}, {"coattn_heads": 2}, {"omic_sizes": []}])
def test_a_config_that_makes_no_sense_is_refused(change):
    with pytest.raises(PluginError, match="config of MCAT_Surv does not say what to build: "):
        load_official({**CONFIG, **change}, STATE)


@pytest.mark.parametrize("config", [{}, {"cls": "PorpoiseMMF"}, {"cls": None}, {"kwargs": {}}])
def test_other_configs_are_left_to_others(config):
    assert load_official(config, {}) is None
