import numpy as np
import pytest
import torch
from fusionbench_porpoise import (
    Porpoise,
    PorpoiseAmil,
    PorpoiseAmilOptions,
    PorpoiseOptions,
    PorpoiseSnn,
    PorpoiseSnnOptions,
)
from pydantic import ValidationError

from fusionbench import ModalitySpec, PluginError
from fusionbench.data.collate import collate
from fusionbench.nn import Dropout
from tests.golden.replay import replay
from tests.golden.replay.porpoise import load_official
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, MAP, MODELS, OMIC, TASK, close, named
from tests.unit.published_files import bilinear_state, changed, golden, observed, plain_bilinear

ALL, VECTORS = (CLINICAL, OMIC, IMAGE), (CLINICAL, OMIC)


def build(kind, options, specs):
    torch.manual_seed(0)
    return kind(options).build(TASK, named(*specs)).eval()


@pytest.mark.parametrize("options", [PorpoiseOptions(), PorpoiseOptions(fusion="concat")])
def test_without_dropout_training_computes_what_evaluation_does(options):
    net = build(Porpoise, options.model_copy(update={"dropout": 0.0, "input_dropout": 0.0}), ALL)
    batch = collate(CASES, named(*ALL))
    seen = net(batch)
    assert torch.equal(net.train()(batch), seen)


def test_input_dropout_is_of_the_bag_and_no_other():
    net = build(Porpoise, PorpoiseOptions(dropout=0.0, input_dropout=0.5), ALL).train()
    batch = collate(CASES, named(*ALL))
    seen = {}
    net.omic.register_forward_hook(lambda module, args, out: seen.setdefault("omic", []).append(out))
    net.path.embed.register_forward_pre_hook(lambda module, args: seen.setdefault("path", []).append(args[0]))
    net(batch)
    net(batch)
    assert torch.equal(*seen["omic"])
    kept = seen["path"][0] != 0
    close(seen["path"][0][kept], (2 * batch.bags["image"].values)[kept])
    assert not torch.equal(*seen["path"])


def test_attention_is_what_the_bag_is_pooled_with():
    net, batch = MODELS["porpoise"].network(), MODELS["porpoise"].batch()
    bag, weights = batch.bags["image"], net.attention(batch)["image"][:, 0, 0]
    pooled = (weights.unsqueeze(-1) * net.path.embed(bag.values)).sum(dim=1)
    close(net.path(bag)[0], net.path.rho(pooled))


PAIR = "needs one bag or grid (slide features, an image) and at least one vector (a table); "
PORPOISE, SNN = Porpoise(PorpoiseOptions()), PorpoiseSnn(PorpoiseSnnOptions())
AMIL = PorpoiseAmil(PorpoiseAmilOptions())


@pytest.mark.parametrize(
    ("model", "specs", "reason"),
    [
        (PORPOISE, (IMAGE, OMIC), None),
        (PORPOISE, (CLINICAL, MAP, OMIC), None),
        (PORPOISE, (CLINICAL, OMIC), PAIR + "there are only vectors: 'clinical', 'omic'"),
        (PORPOISE, (IMAGE,), PAIR + "there is no vector: 'image'"),
        (PORPOISE, (IMAGE, MAP, OMIC), PAIR + "there are 2 bags or grids: 'image', 'map'"),
        (AMIL, (IMAGE,), None),
        (AMIL, (MAP,), None),
        (AMIL, (OMIC,), "takes bags and grids only; 'omic' is a vector"),
        (AMIL, (IMAGE, OMIC), "takes the bag 'image' alone, not 'omic' beside it"),
        (AMIL, (IMAGE, MAP), "takes exactly one bag; there are 2: 'image', 'map'"),
        (SNN, (CLINICAL, OMIC), None),
        (SNN, (CLINICAL, IMAGE), "takes vectors only; 'image' is a bag"),
    ],
)
def test_skips_with_a_reason(model, specs, reason):
    assert model.skip(TASK, named(*specs)) == reason


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        (PorpoiseOptions, {"fusion": "lrb"}, "'bilinear' or 'concat'"),
        (PorpoiseOptions, {"gates": True}, "Extra inputs"),
        (PorpoiseOptions, {"dropout": 1.0}, "less than 1"),
        (PorpoiseOptions, {"input_dropout": -0.1}, "greater than or equal to 0"),
        (PorpoiseOptions, {"vector_widths": ()}, "at least 1 item"),
        (PorpoiseOptions, {"width": 0}, "greater than or equal to 1"),
        (PorpoiseOptions, {"scale_bag": 0}, "greater than or equal to 1"),
        (PorpoiseOptions, {"head_scale": 0}, "greater than 0"),
        (PorpoiseOptions, {"bag_width": 7}, r"bag_width \(7\) is divided by 8"),
        (PorpoiseOptions, {"vector_widths": (16, 4)}, r"vector_widths \(4\) is divided by 8"),
        (PorpoiseOptions, {"fusion": "concat", "skip": False, "scale_bag": 4}, "scale_bag, skip: of fusion=bilinear"),
        (PorpoiseAmilOptions, {"size": "medium"}, "'small' or 'big'"),
        (PorpoiseAmilOptions, {"fusion": "concat"}, "should be 'none'"),
        (PorpoiseAmilOptions, {"rho": True}, "should be False"),
        (PorpoiseAmilOptions, {"hidden": 128}, "hidden is the width of rho"),
        (PorpoiseSnnOptions, {"widths": (8, 0)}, "greater than or equal to 1"),
    ],
)
def test_options_are_strict(kind, options, reason):
    with pytest.raises(ValidationError, match=reason):
        kind(**options)


def test_size_sets_widths_and_an_explicit_one_wins():
    assert PorpoiseAmilOptions(size="big").attention_width == 384
    narrow, snn = PorpoiseAmilOptions(size="big", attention_width=8), PorpoiseSnnOptions(size="big")
    assert narrow.attention_width == 8
    assert snn.widths == (1024, 1024, 1024, 256)
    for options in (narrow, snn, PorpoiseOptions()):
        assert type(options).model_validate(options.model_dump()) == options


def test_defaults_start_and_drop_out_as_published():
    wide = (ModalitySpec("omic", "vector", 400), ModalitySpec("image", "bag", 400))
    net = build(Porpoise, PorpoiseOptions(), wide)
    assert [type(layer[2]) for layer in net.omic] == [torch.nn.AlphaDropout] * 2
    assert net.omic[0][0].weight.abs().max() <= 400**-0.5  # torch's start is uniform
    rates = {n: m.p for n, m in net.named_modules() if isinstance(m, (torch.nn.Dropout, torch.nn.AlphaDropout))}
    assert rates.pop("path.drop") == 0.10
    assert {n for n, rate in rates.items() if rate == 0} == {"fusion.encode.2", "fusion.combine.2"}
    assert {rate for rate in rates.values() if rate} == {0.25}
    amil = build(PorpoiseAmil, PorpoiseAmilOptions(), wide[1:])
    assert amil.embed[0].weight.std().item() == pytest.approx((2 / (400 + 512)) ** 0.5, rel=0.05)
    assert not any(m.bias.any() for m in amil.modules() if isinstance(m, torch.nn.Linear))
    snn = build(PorpoiseSnn, PorpoiseSnnOptions(), wide[:1])
    assert [type(block[2]) for block in snn.blocks] == [torch.nn.AlphaDropout] * 4
    assert snn.head.weight.std().item() == pytest.approx(256**-0.5, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "options", "specs"), [(Porpoise, PorpoiseOptions, ALL), (PorpoiseSnn, PorpoiseSnnOptions, VECTORS)]
)
def test_the_head_can_start_small_and_nothing_else_changes(kind, options, specs):
    full = build(kind, options(), specs).state_dict()
    small = build(kind, options(head_scale=0.01), specs).state_dict()
    for name, values in full.items():
        assert torch.equal(small[name], values * 0.01 if name.startswith("head.") else values), name


def test_dropout_kinds_and_layers_of_the_vectors():
    plain = build(Porpoise, PorpoiseOptions(dropout_kind="plain"), ALL)
    mlp = build(Porpoise, PorpoiseOptions(mlp=True), ALL)
    assert [type(m) for m in plain.omic[0]] == [torch.nn.Linear, torch.nn.ELU, torch.nn.Dropout]
    assert [type(m) for m in mlp.omic[0]] == [torch.nn.Linear, torch.nn.ReLU, Dropout]


FULL = (ModalitySpec("omic", "vector", 2183), ModalitySpec("image", "bag", 1024))


@pytest.mark.parametrize(
    ("model", "specs", "count"),
    [
        (Porpoise(PorpoiseOptions(fusion="concat")), FULL, 1_742_085),
        (Porpoise(PorpoiseOptions()), FULL, 2_072_261),
        (Porpoise(PorpoiseOptions(skip=False)), FULL, 1_941_189),
        # a gate that is off has no weights here: twice 32 x 512 and 32
        (Porpoise(PorpoiseOptions(skip=False, gate_bag=False, gate_vector=False)), FULL, 1_941_189 - 2 * 16_416),
        (PorpoiseAmil(PorpoiseAmilOptions()), FULL[1:], 789_765),
        (PorpoiseAmil(PorpoiseAmilOptions(size="big")), FULL[1:], 921_221),
        (PorpoiseSnn(PorpoiseSnnOptions()), FULL[:1], 757_508),
        (PorpoiseSnn(PorpoiseSnnOptions(size="big")), FULL[:1], 4_599_044),
    ],
)
def test_full_size_has_the_published_number_of_parameters(model, specs, count):
    with torch.device("meta"):
        assert sum(p.numel() for p in model.build(TASK, named(*specs)).parameters()) == count


@pytest.mark.parametrize(
    "asked",
    [
        {"skip": False},
        {"gate_omic": False, "scale_dim1": 4, "skip": False},
        {"gate_path": 0, "gate_omic": 0},
        {"gate_path": False, "scale_dim2": 2},
    ],
)
def test_other_fusions_are_the_formula(asked):
    file, state, inputs = golden("porpoise/porpoise_mmf_concat")
    gates, skip = (bool(asked.get("gate_path", True)), bool(asked.get("gate_omic", True))), asked.get("skip", True)
    state = bilinear_state(state, (asked.get("scale_dim1", 8), asked.get("scale_dim2", 8)), skip)
    ours = observed(load_official({**file.config, "fusion": "bilinear", **asked}, state), inputs)
    fused = plain_bilinear(state, file.arrays["mid/rho"][0], file.arrays["mid/fc_omic"][0], gates, skip)
    np.testing.assert_allclose(ours["mid/mm"][0], fused, rtol=1e-12)
    expected = state["classifier_mm.weight"] @ fused + state["classifier_mm.bias"]
    np.testing.assert_allclose(ours["output/logits"][0], expected, rtol=1e-12)


def test_without_input_dropout_the_published_layers_count_from_0():
    file, state, _ = golden("porpoise/porpoise_mmf_concat")
    moved = {k.replace("attention_net.1", "attention_net.0").replace("net.4", "net.3"): x for k, x in state.items()}
    outcome = replay(changed(file, {**file.config, "dropinput": 0}, param=moved))
    assert outcome.failures == []
    assert outcome.largest < 1e-12
    with pytest.raises(PluginError, match=r"missing 'attention_net\.1\.bias'.*left over 'attention_net\.0\.bias'"):
        load_official(file.config, moved)


def test_the_published_snn_may_have_any_widths():
    file, _, inputs = golden("porpoise/snn_small")
    rng, widths, x = np.random.default_rng(0), (30, 40, 40, 32), inputs["x_omic"]
    state = {"classifier.weight": rng.normal(size=(3, 32)), "classifier.bias": rng.normal(size=3)}
    for i in range(3):
        w, b = rng.normal(0, 0.2, (widths[i + 1], widths[i])), rng.normal(size=widths[i + 1])
        state |= {f"fc_omic.{i}.0.weight": w, f"fc_omic.{i}.0.bias": b}
        x = x @ w.T + b
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    official = load_official({**file.config, "hidden": widths[1:], "n_classes": 3}, state)
    expected = x @ state["classifier.weight"].T + state["classifier.bias"]
    np.testing.assert_allclose(observed(official, inputs)["output/logits"], expected, rtol=1e-10)


def test_weights_of_another_precision_keep_it():
    file, state, _ = golden("porpoise/porpoise_amil_small")
    net = load_official(file.config, {name: x.astype(np.float32) for name, x in state.items()}).module
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert not net.training


@pytest.mark.parametrize("name", ["porpoise_mmf_concat", "porpoise_mmf_bilinear", "porpoise_amil_small", "snn_small"])
def test_everything_that_does_not_fit_is_named_at_once(name):
    file, state, _ = golden(f"porpoise/{name}")
    head = next(key for key in state if key.startswith("classifier") and key.endswith("weight"))
    gone, odd = [key for key in state if key != head][:2]
    wrong = {key: x for key, x in state.items() if key != gone}
    wrong |= {"extra.bias": np.zeros(3), odd: state[odd][:-1], head: np.full_like(state[head], np.nan)}
    with pytest.raises(PluginError) as caught:
        load_official(file.config, wrong)
    for part in (f"missing '{gone}'", "left over 'extra.bias'", f"'{odd}' has shape", f"'{head}' holds NaN"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("porpoise_mmf_bilinear", {"fusion", "omic_input_dim", "n_classes", "hidden", "wsi"}),
        ("porpoise_amil_small", {"n_classes", "wsi"}),
        ("snn_small", {"omic_input_dim", "hidden", "n_classes"}),
    ],
)
def test_a_config_without_its_keys_names_them(name, needed):
    file, state, _ = golden(f"porpoise/{name}")
    config = file.config
    for key in needed:
        with pytest.raises(
            PluginError, match=rf"config of {config['cls']} does not say what to build: {key} Field req"
        ):
            load_official({k: v for k, v in config.items() if k != key}, state)
    with pytest.raises(PluginError) as caught:
        load_official({"cls": config["cls"]}, state)
    assert all(f"{key} Field required" in str(caught.value) for key in needed)


@pytest.mark.parametrize("change", [{"fusion": "lrb"}, {"fusion": None}, {"wsi": [40, 48]}, {"wsi": [40, 48, 4]}])
def test_a_config_that_makes_no_sense_is_refused(change):
    file, state, _ = golden("porpoise/porpoise_mmf_bilinear")
    with pytest.raises(PluginError, match="config of PorpoiseMMF does not say what to build: "):
        load_official({**file.config, **change}, state)


@pytest.mark.parametrize("config", [{}, {"cls": "MCAT_Surv"}, {"cls": None}, {"cls": ["SNN"]}, {"kwargs": {}}])
def test_other_configs_are_left_to_others(config):
    assert load_official(config, {}) is None
