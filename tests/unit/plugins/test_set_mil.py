"""Published set-MIL networks: other sizes, what does not fit, and how many parameters there are."""

import numpy as np
import pytest
import torch
from fusionbench_unimodal import AbmilNetwork, AbmilOptions
from fusionbench_unimodal.mifcn_network import MifcnNetwork
from fusionbench_unimodal.networks import DeepsetsNetwork
from fusionbench_unimodal.options import DeepsetsOptions, MifcnOptions
from torch import nn

from fusionbench import ModalitySpec, PluginError
from tests.golden.replay import replay
from tests.golden.replay.unimodal import load_official, published_parts
from tests.unit.published_files import changed, golden, observed


@pytest.mark.parametrize("name", ["mifcn_concat", "mifcn_pathonly"])
def test_the_files_clusters_are_used(name):
    file, _, inputs = golden(f"unimodal/{name}")
    moved = {**inputs, "cluster_id": (inputs["cluster_id"] + 1) % 10}
    assert replay(changed(file, input=moved)).largest > 1e-3


@pytest.mark.parametrize("name", ["amil_setmil_concat", "deepsets_bilinear", "mifcn_bilinear"])
def test_everything_that_does_not_fit_is_named_at_once(name):
    file, state, _ = golden(f"unimodal/{name}")
    wrong = {k: v for k, v in state.items() if k != "rho.0.bias"} | {
        "stranger.weight": np.zeros(3),
        "classifier.weight": np.zeros((4, 3)),
    }
    with pytest.raises(PluginError) as raised:
        load_official(file.config, wrong)
    for part in ("missing 'rho.0.bias'", "left over 'stranger.weight'", "'classifier.weight' has shape (4, 3)"):
        assert part in str(raised.value)
    assert str(raised.value).startswith(file.config["cls"])


def test_another_class_is_left_to_others_and_a_config_that_makes_no_sense_is_named():
    file, state, _ = golden("unimodal/amil_setmil_concat")
    config = file.config
    assert load_official({**config, "cls": "PorpoiseAMIL"}, state) is None
    assert load_official({}, state) is None
    with pytest.raises(PluginError, match=r"fusion .*; wsi .*; n_classes "):
        load_official({"cls": config["cls"], "fusion": "lrb"}, state)
    with pytest.raises(PluginError, match="fusion 'concat' needs omic_input_dim"):
        load_official({**config, "omic_input_dim": None}, state)


@pytest.mark.parametrize("fusion", [None, "concat", "bilinear"])
@pytest.mark.parametrize("clusters", [2, 7])
def test_other_widths_and_numbers_of_clusters_load(fusion, clusters):
    """Widths that no file has, with weights of our own under the published names."""
    config = {
        "cls": "MIL_Cluster_FC_surv",
        "fusion": fusion,
        "wsi": [9, 24, 20],
        "omic_input_dim": 11,
        "n_classes": 3,
        "num_clusters": clusters,
    }
    with pytest.raises(PluginError) as empty:
        load_official(config, {})
    specs = [ModalitySpec("x_path", "bag", 9), *([ModalitySpec("x_omic", "vector", 11)] if fusion else [])]
    options = MifcnOptions(fusion=fusion or "none", width=24, hidden=20, attention_width=20, clusters=clusters)
    ours = MifcnNetwork(specs, 3, options, nn.Identity()).double()
    state = {}
    for name, theirs in published_parts(ours).items():
        state |= dict(zip(theirs, np.split(ours.state_dict()[name].numpy(), len(theirs)), strict=True))
    assert str(empty.value).count("missing") == len(state)
    inputs = {"x_path": np.ones((5, 9)), "x_omic": np.ones(11), "cluster_id": np.arange(5) % clusters}
    inputs = {k: v for k, v in inputs.items() if fusion or k != "x_omic"}
    assert observed(load_official(config, state), inputs)["output/logits"].shape == (1, 3)


PARAMETERS = {
    (DeepsetsNetwork, "none"): 657_156,
    (DeepsetsNetwork, "concat"): 1_479_172,
    (DeepsetsNetwork, "bilinear"): 1_678_276,
    (AbmilNetwork, "none"): 920_069,
    (AbmilNetwork, "concat"): 1_742_085,
    (AbmilNetwork, "bilinear"): 1_941_189,
    (MifcnNetwork, "none"): 8_532_485,
    (MifcnNetwork, "concat"): 9_354_501,
    (MifcnNetwork, "bilinear"): 9_553_605,
}
SPECS = [ModalitySpec("image", "bag", 1024), ModalitySpec("omic", "vector", 2183)]


def count(network, specs, options):
    with torch.device("meta"):
        return sum(p.numel() for p in network(specs, 4, options).parameters())


@pytest.mark.parametrize(("network", "fusion"), PARAMETERS)
def test_defaults_have_as_many_parameters_as_published(network, fusion):
    kinds = {DeepsetsNetwork: DeepsetsOptions, MifcnNetwork: MifcnOptions, AbmilNetwork: AbmilOptions}
    options = {"fusion": fusion} | ({"rho": True} if network is AbmilNetwork else {})
    specs = SPECS[:1] if fusion == "none" else SPECS
    assert count(network, specs, kinds[network](**options)) == PARAMETERS[network, fusion]
