"""Maps of attention: their axes, what a module may not give, cases of different lengths, and what follows from them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from fusionbench import AttentionMap, ModalitySpec
from fusionbench.core.errors import PluginError
from fusionbench.data.collate import collate
from fusionbench.execution.training.attention_maps import joined
from fusionbench.execution.training.torch_predictor import TorchPredictor
from tests.unit.execution.test_training import SPECS, TASK, Net, cohort


class WithMaps(nn.Module):
    """A softmax over instances for each of two classes and heads, and one over three learned queries."""

    def __init__(self, changes=None):
        super().__init__()
        self.inner, self.changes = Net(), changes or {}

    def forward(self, batch):
        return self.inner(batch)

    def attention_maps(self, batch):
        bag = batch.bags["wsi"]
        scores = torch.stack([bag.values.sum(dim=-1) * factor for factor in (1, 2, 3, 4)], dim=1)
        scores = scores.unflatten(1, (2, 2))  # (case, class, head, item)
        weights = scores.masked_fill(~bag.mask[:, None, None], -1e9).softmax(dim=-1) * bag.mask[:, None, None]
        one = AttentionMap(weights, "wsi", ("class", "head"), scores=scores)
        return {"classes": replace(one, **self.changes)}


def predictor(module):
    return TorchPredictor(module, TASK, SPECS, device=torch.device("cpu"), batch_size=4)


def test_axes_are_arranged_by_their_names():
    values = torch.arange(2 * 3 * 4 * 5 * 6.0).reshape(2, 3, 4, 5, 6)
    one = AttentionMap(values, "bag", ("query", "class", "layer"))
    made = one.arranged(values)
    assert made.shape == (2, 5, 1, 4, 3, 6)
    assert torch.equal(made[1, 4, 0, 2, 1], values[1, 1, 2, 4])
    assert torch.allclose(one.overall().sum(dim=-1), torch.ones(2, 5, 1))
    assert AttentionMap(values[:, 0, 0, 0], "bag").arranged(values[:, 0, 0, 0]).shape == (2, 1, 1, 1, 1, 6)
    assert not AttentionMap(torch.zeros(2, 6), "bag").overall().any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"axes": ("head", "head")},
            "axes are ('head', 'head'), expected some of layer, head, class",
        ),
        ({"axes": ("token",)}, "axes are ('token',), expected some of layer, head, class, query, each once"),
        ({"kind": "scores"}, "kind is 'scores', expected one of weights, mass"),
        ({"kind": "mass"}, "mass and named queries need an axis 'query'"),
        ({"queries": "omic"}, "mass and named queries need an axis 'query'"),
        ({"axes": ("query",), "kind": "mass", "softmax": "all"}, "mass is of no softmax"),
        ({"marginals": {}}, "marginals are of mass"),
    ],
)
def test_a_map_that_contradicts_itself_cannot_be_made(given, said):
    with pytest.raises(PluginError, match=re.escape(said)):
        AttentionMap(torch.zeros(2, 3, 4), "bag", **given)


def test_cases_come_in_their_order_whatever_batch_they_were_in():
    cases = cohort(14)
    one = predictor(WithMaps()).attention_maps(cases)["classes"]
    longest = max(len(case.bags["wsi"].values) if "wsi" in case.bags else 0 for case in cases)
    assert one.values.shape == one.scores.shape == (14, 2, 2, longest)
    for i, case in enumerate(cases):
        alone = predictor(WithMaps()).attention_maps(cases.take([i]))["classes"]
        own = alone.values.shape[-1]
        assert torch.allclose(one.values[i, ..., :own], alone.values[0], atol=1e-6)
        assert not one.values[i, ..., own:].any()
        assert torch.allclose(one.values[i].sum(dim=-1), torch.full((2, 2), float("wsi" in case.bags)), atol=1e-5)


def test_attention_follows_from_the_maps_where_a_module_has_no_other():
    cases = cohort(6)
    found = predictor(WithMaps()).attention(cases)
    maps = predictor(WithMaps()).attention_maps(cases)
    assert set(found) == {"wsi"}
    assert torch.allclose(found["wsi"].weights[:, 0], maps["classes"].values.mean(dim=1), atol=1e-6)
    assert predictor(Net()).attention_maps(cases) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"modality": "ct"}, "attention map 'classes' is of 'ct', expected one of omic, wsi"),
        ({"axes": ("class",)}, "values has shape (4, 2, 2, "),
        (
            {"scores": torch.zeros(4, 2, 2, 1)},
            "scores has shape (4, 2, 2, 1), expected (case, class, head, item)",
        ),
        ({"item_names": ("stroma", "tumour")}, "expected (case, class, head, item) with 4 cases, 2 item"),
    ],
)
def test_a_map_of_another_shape_is_refused(changes, said):
    with pytest.raises(PluginError, match=re.escape(said)):
        predictor(WithMaps(changes)).attention_maps(cohort(4))


def test_what_is_no_map_is_refused():
    module = WithMaps()
    module.attention_maps = lambda batch: {"classes": batch.bags["wsi"].mask}
    with pytest.raises(PluginError, match=r"attention map 'classes' is Tensor, expected fusionbench\.AttentionMap"):
        predictor(module).attention_maps(cohort(4))


def test_all_axes_but_the_first_are_padded():
    made = joined([torch.ones(2, 3, 1), torch.ones(1, 2, 4)])
    assert made.shape == (3, 3, 4)
    assert made.sum() == 2 * 3 + 2 * 4


def test_the_module_of_the_docs_gives_sound_maps():
    text = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
    section = text.partition("### Where it looks")[2]
    names = {}
    exec(section.partition("```python\n")[2].partition("```")[0], names)
    groups = {"A": (0, 1), "B": (1,)}
    specs = [replace(SPECS["omic"], groups=groups), SPECS["wsi"]]
    assert all(isinstance(spec, ModalitySpec) for spec in specs)
    batch = collate(list(cohort(4)), SPECS)
    maps = names["Pathways"](*specs).attention_maps(batch)
    there = (batch.bags["wsi"].present & batch.bags["omic"].present).float()
    assert torch.allclose(maps["pathway to patch"].values.sum(dim=-1), there[:, None].expand(-1, 2), atol=1e-5)
    assert maps["class"].values.shape == (4, 3, batch.bags["wsi"].mask.shape[1])
