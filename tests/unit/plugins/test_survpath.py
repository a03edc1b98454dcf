from dataclasses import replace

import numpy as np
import pytest
import torch
from fusionbench_survpath import SurvPath, SurvPathOptions
from pydantic import ValidationError

from fusionbench import Bag, Batch, DataError, ModalitySpec, PluginError
from fusionbench.core.protocol import TrainRecipe, overlay
from tests.golden.replay.survpath import load_official
from tests.unit.network_cases import CASES, CLINICAL, GROUPED, IMAGE, MAP, TASK, close, named, of
from tests.unit.published_files import golden

MADE = of(SurvPath, CLINICAL, GROUPED, IMAGE, group_widths=(8,))
NEEDS = "needs slide features (a feature folder) or an image, and at least one table; "
BARE = replace(GROUPED, groups={"a": (), "b": ()})


def hallmarks(groups, total, dim):
    """So many groups of `total` columns together; the parameters depend on no more."""
    sizes = [total // groups + (i < total % groups) for i in range(groups)]
    members = {str(i): tuple(range(size)) for i, size in enumerate(sizes)}  # overlapping
    return named(ModalitySpec("omic", "vector", max(sizes), members), ModalitySpec("image", "bag", dim))


@pytest.mark.parametrize(
    ("groups", "total", "dim", "count"),
    [
        (331, 9745, 768, 24_702_532),
        (331, 9745, 1024, 24_768_068),
        (50, 7110, 768, 5_468_484),
        (50, 7110, 1024, 5_534_020),
        (281, 2635, 768, 19_579_972),
    ],
)
def test_full_size_has_the_published_number_of_parameters(groups, total, dim, count):
    with torch.device("meta"):
        net = SurvPath(SurvPathOptions()).build(TASK, hallmarks(groups, total, dim))
    assert sum(p.numel() for p in net.parameters()) == count


FILE, STATE, INPUTS = golden("survpath/survpath_p5_padded")


def test_masked_padding_gives_what_the_published_network_gives_without_it():
    net, adapter = load_official(FILE.config, STATE)
    batch = adapter({name: torch.from_numpy(x) for name, x in INPUTS.items()})
    mask = torch.arange(16)[None] < 6
    masked = replace(batch, bags={**batch.bags, "path": replace(batch.bags["path"], mask=mask)})
    np.testing.assert_allclose(net(masked).detach(), FILE.arrays["target/logits_without_padding"], rtol=1e-12)
    assert (net(batch) - net(masked)).abs().max() > 0.01


def test_attended_padding_is_a_bag_of_that_length_in_training_alone():
    """And the same in a batch as alone."""
    made = of(SurvPath, GROUPED, IMAGE, group_widths=(8,), padding="attended", padded_to=11, dropout=0)
    net, batch = made.network(), made.batch()
    net.feed[3].p = 0.0
    close(net(batch), of(SurvPath, GROUPED, IMAGE, group_widths=(8,)).network()(batch))
    bag = batch.bags["image"]
    longer = torch.nn.functional.pad(bag.values, (0, 0, 0, 2))
    whole = replace(batch, bags={**batch.bags, "image": Bag(longer, torch.ones(longer.shape[:2], dtype=torch.bool))})
    expected = net(whole)
    close(net.train()(batch), expected)
    close(net(made.batch(CASES[2])), expected[2:3])


def test_groups_of_one_column_and_overlapping_ones_are_tokens():
    wide = replace(GROUPED, groups={"a": (0, 1), "b": (1,), "c": (1,), "d": tuple(range(6))})
    made = of(SurvPath, wide, IMAGE, group_widths=(8,))
    net, batch = made.network(), made.batch()
    assert net.tokens(batch).pathways.shape == (5, 4, 8)
    assert net.attention(batch)["omic"].shape == (5, 1, 1, 4)
    assert net.parts == {"omic": dict(wide.groups)}


def test_what_a_case_lacks_is_left_out_of_it_alone():
    net, full = MADE.network(), MADE.batch()
    for name in ("image", "omic"):
        bag = full.bags[name]
        there = torch.tensor([True, False, True, True, True]).unsqueeze(1) & bag.mask
        less = replace(full, bags={**full.bags, name: Bag(bag.values, there)})
        changed = (net(less) - net(full)).abs().amax(dim=1) > 1e-9
        assert changed.tolist() == [False, True, False, False, False]
        assert not net.attention(less)[name][1].any()
    nothing = {name: Bag(bag.values, torch.zeros_like(bag.mask)) for name, bag in full.bags.items()}
    with pytest.raises(DataError, match="'case-0' has none of clinical, omic, image"):
        net(Batch(full.ids, nothing))


def test_attention_is_over_the_items_that_a_case_has():
    net, batch = MADE.network(), MADE.batch()
    maps, mask = net.attention(batch), batch.bags["image"].mask
    assert {name: weights.shape for name, weights in maps.items()} == {"image": (5, 1, 1, 9), "omic": (5, 1, 1, 2)}
    assert not maps["image"][:, 0, 0][~mask].any()
    for weights in maps.values():
        close(weights.sum(dim=-1), torch.ones(5, 1, 1, dtype=torch.float64))
    scores = net.scores(batch)
    assert [x.shape for x in scores] == [(5, 3, 3), (5, 3, 9), (5, 9, 3)]
    own = torch.cat([scores.among[1], scores.patches[1, :, :3]], dim=1).softmax(dim=1)[:, 3:].sum(dim=0)
    close(maps["image"][1, 0, 0, :3], own / own.sum())


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ((IMAGE, GROUPED), None),
        ((CLINICAL, MAP, GROUPED), None),
        ((CLINICAL, GROUPED), NEEDS + "there are only vectors: 'clinical', 'omic'"),
        ((IMAGE,), NEEDS + "there is no vector: 'image'"),
        ((IMAGE, MAP, GROUPED), NEEDS + "there are 2 bags or grids: 'image', 'map'"),
        (
            (IMAGE, BARE),
            "none of the 2 feature groups of 'omic' matches a column: declare groups of its columns, or set groups=one",
        ),
    ],
)
def test_skips_with_a_reason(specs, reason):
    model = SurvPath(SurvPathOptions())
    assert model.skip(TASK, named(*specs)) == reason
    if reason is not None:
        with pytest.raises(DataError, match="survpath: "):
            model.build(TASK, named(*specs))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"group_widths": (6,)}, r"group_widths \(6\) must be a multiple of 4"),
        ({"padding": "zeros"}, "'masked' or 'attended'"),
        ({"padded_to": 100}, "padded_to: of padding=attended only"),
        ({"dropout": 1.0}, "less than 1"),
        ({"join": "row"}, "Extra inputs"),
        ({"recipe": "paper"}, "'suite' or 'own'"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        SurvPathOptions(**options)


def test_its_own_recipe_is_the_published_one():
    assert SurvPath(SurvPathOptions()).recipe() == {}
    own = overlay(TrainRecipe(), SurvPath(SurvPathOptions(recipe="own")).recipe())
    assert (own.optimizer, own.lr, own.weight_decay, own.alpha) == ("radamw", 5e-4, 1e-4, 0.5)
    assert (own.epochs, own.schedule, own.batch_size, own.max_instances) == (5, "constant", 1, 4096)


@pytest.mark.parametrize("key", ["omic_sizes", "wsi_embedding_dim", "wsi_projection_dim", "num_classes", "heads"])
def test_a_config_without_its_keys_names_them(key):
    with pytest.raises(PluginError, match=f"config of SurvPath does not say what to build: {key} Field required"):
        load_official({k: v for k, v in FILE.config.items() if k != key}, STATE)


def test_tensors_that_do_not_fit_are_named():
    wrong = {name: x for name, x in STATE.items() if name != "layer_norm.bias"} | {"extra": np.zeros(3)}
    with pytest.raises(PluginError, match=r"missing 'layer_norm.bias'; left over 'extra'"):
        load_official(FILE.config, wrong)
