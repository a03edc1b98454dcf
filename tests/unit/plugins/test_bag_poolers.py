"""Published models of one bag: parameters, heads, recipes, what they refuse."""

from dataclasses import replace

import pytest
import torch
from fusionbench_dsmil import Dsmil
from fusionbench_ilra import Ilra
from pydantic import ValidationError
from torch.nn import functional as F

from fusionbench import ClassTargets, DataError, Outputs, SurvivalTargets, Task
from fusionbench.core.protocol import TrainRecipe, overlay
from fusionbench.data.collate import collate
from fusionbench.survival import discrete_hazard_nll
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, OMIC, TASK, named

PAPER = {"query": "linear", "value": "linear"}
MODELS = [Dsmil, Ilra]
BAG = named(IMAGE)


def of_width(width):
    return named(replace(IMAGE, dim=width))


def build(kind, task=TASK, specs=BAG, **options):
    torch.manual_seed(0)
    return kind(kind.Options(**options)).build(task, specs)


@pytest.mark.parametrize(
    ("kind", "outputs", "width", "options", "count"),
    [
        (Dsmil, 1, 512, {}, 83_202),
        (Dsmil, 2, 512, {}, 85_252),
        (Dsmil, 4, 1024, {}, 168_200),
        (Dsmil, 1, 512, {"value": "relu"}, 345_858),
        (Dsmil, 2, 512, {"value": "relu"}, 347_908),
        (Dsmil, 4, 1024, {"value": "relu"}, 1_217_800),
        (Dsmil, 1, 512, PAPER, 329_346),
        (Dsmil, 2, 512, PAPER, 331_396),
        (Dsmil, 4, 1024, PAPER, 1_201_288),
        (Ilra, 2, 1024, {"rank": 1, "norm": True}, 3_687_682),
        (Ilra, 4, 1024, {"rank": 1, "norm": True}, 3_688_196),
        (Ilra, 2, 1024, {}, 3_683_074),
        (Ilra, 4, 1024, {}, 3_683_588),
        (Ilra, 2, 1024, {"rank": 64, "norm": True}, 3_719_938),
        (Ilra, 4, 1024, {"rank": 64, "norm": True}, 3_720_452),
    ],
)
def test_it_has_as_many_parameters_as_published(kind, outputs, width, options, count):
    net = build(kind, Task(n_outputs=outputs), of_width(width), **options)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("width", [768, 1280, 1536, 2560])
def test_a_bag_may_be_of_any_width(kind, width):
    batch = collate(CASES[:2], BAG)
    wide = replace(batch.bags["image"], values=batch.bags["image"].values.repeat(1, 1, width // 5 + 1)[..., :width])
    net = build(kind, specs=of_width(width)).eval()
    assert net(replace(batch, bags={"image": wide})).isfinite().all()


@pytest.mark.parametrize("kind", MODELS)
def test_the_published_recipe_is_asked_for(kind):
    assert kind(kind.Options()).recipe() == {}
    own = overlay(TrainRecipe(), kind(kind.Options(recipe="own")).recipe())
    assert (own.optimizer, own.lr, own.batch_size, own.schedule) == ("adam", 1e-4, 1, "cosine")


@pytest.mark.parametrize("kind", MODELS)
def test_dropout_is_searched_where_there_is_some(kind):
    assert "dropout" not in kind(kind.Options()).search_space()
    assert {"dropout", "pool_dropout"} <= set(kind(kind.Options(fusion="concat")).search_space())


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"dropout": 0.5}, "dropout is of the layers that fusion brings: set fusion, or leave dropout out"),
        ({"hidden": 8}, "hidden is of the layers that fusion brings"),
        ({"scale": 4}, "scale has no effect with fusion=none"),
        ({"pool_dropout": 1.0}, "less than 1"),
    ],
)
def test_options_are_strict(kind, options, reason):
    with pytest.raises(ValidationError, match=reason):
        kind.Options(**options)


def test_heads_of_ilra_share_its_width():
    with pytest.raises(ValidationError, match="heads=3 share width=256: width must be a multiple of heads"):
        Ilra.Options(heads=3)


@pytest.mark.parametrize("kind", MODELS)
def test_what_it_takes(kind):
    model = kind(kind.Options())
    assert model.skip(TASK, named(OMIC)) == "takes bags and grids only; 'omic' is a vector"
    alone = "takes the bag 'image' alone: set fusion=concat or fusion=bilinear to add 'clinical'"
    assert model.skip(TASK, named(CLINICAL, IMAGE)) == alone


def test_a_second_head_needs_more_than_one_output():
    model = Dsmil(Dsmil.Options(head="two"))
    reason = "head=two has a loss of time bins or classes; with the cox loss set head=mean"
    assert model.skip(Task(n_outputs=1), BAG) == reason
    with pytest.raises(DataError, match=f"dsmil: {reason}"):
        model.build(Task(n_outputs=1), BAG)


FOLLOWED = SurvivalTargets(torch.arange(5.0), torch.tensor([1, 0, 1, 1, 0]).bool(), torch.tensor([0, 1, 2, 3, 1]))
LABELS = ClassTargets(torch.tensor([0, 1, 1, 0, 1]))


@pytest.mark.parametrize(
    ("task", "targets", "loss"),
    [
        (TASK, FOLLOWED, lambda x: discrete_hazard_nll(x, FOLLOWED.time_bin, FOLLOWED.event)),
        (
            Task("binary", 2, classes=("no", "yes")),
            LABELS,
            lambda x: F.cross_entropy(x, LABELS.label, reduction="none"),
        ),
        (
            Task("binary", 1, classes=("no", "yes")),
            LABELS,
            lambda x: F.binary_cross_entropy_with_logits(x[:, 0], LABELS.label.float(), reduction="none"),
        ),
    ],
)
def test_the_second_head_is_trained_by_half_the_loss(task, targets, loss):
    net, batch = build(Dsmil, task, head="two"), collate(CASES, BAG)
    assert isinstance(net.eval()(batch), torch.Tensor)
    out = net.train()(replace(batch, targets=targets))
    assert isinstance(out, Outputs)
    assert out.weights == {"loss": 0.5, "highest": 0.5}
    highest = torch.stack([net.score(case.bags["image"].values).amax(dim=0) for case in CASES])
    torch.testing.assert_close(out.losses["highest"], loss(highest))
    torch.testing.assert_close(out.logits, net.eval()(batch))


def test_the_highest_instance_is_taught_in_fusion_as_well():
    specs = named(OMIC, IMAGE)
    net = build(Dsmil, specs=specs, fusion="concat", hidden=16)
    net(collate(CASES, specs)).sum().backward()
    assert net.score.weight.grad.any()
    assert net.rho[0].in_features == 4 * IMAGE.dim


def test_orthogonal_weights_of_dsmil():
    net = build(Dsmil, start="orthogonal")
    for linear in (net.score, net.query[0], net.query[2], net.head):
        narrow = linear.weight if linear.out_features <= linear.in_features else linear.weight.T
        torch.testing.assert_close(narrow @ narrow.T, torch.eye(len(narrow)))
        assert not linear.bias.any()
    assert build(Dsmil).score.bias.any()


@pytest.mark.parametrize(("kind", "options", "rows"), [(Dsmil, {}, 4), (Ilra, {"width": 16, "heads": 2}, 2)])
def test_attention_has_a_row_for_each_output_or_head(kind, options, rows):
    assert build(kind, **options).attention(collate(CASES, BAG))["image"].shape == (5, 1, rows, 9)


def test_one_latent_gives_each_instance_the_same_vector():
    net, batch = build(Ilra, rank=1, width=16, heads=2), collate(CASES, BAG)
    spread, bag = net.layers[0].spread, batch.bags["image"]
    latents = net.layers[0].collected(bag.values, bag.mask)
    seen = spread.attend(spread.query(bag.values), spread.key(latents), spread.value(latents), None)
    torch.testing.assert_close(seen, seen[:, :1].expand_as(seen))
