"""What uni-modal models skip, which options they refuse, and how their fusion starts."""

import pytest
import torch
from fusionbench_unimodal.abmil import Abmil
from fusionbench_unimodal.deepsets import Deepsets
from fusionbench_unimodal.mean_pool import MeanPool
from fusionbench_unimodal.mifcn import Mifcn
from fusionbench_unimodal.options import (
    AbmilOptions,
    BagOptions,
    DeepsetsOptions,
    MeanPoolOptions,
    MifcnOptions,
    SnnOptions,
)
from fusionbench_unimodal.snn import Snn
from pydantic import ValidationError

from tests.unit.network_cases import ALL, CLINICAL, IMAGE, MAP, OMIC, TASK, named

CONCAT = {"fusion": "concat"}


@pytest.mark.parametrize(
    ("model", "specs", "reason"),
    [
        (Snn(SnnOptions()), (CLINICAL, OMIC), None),
        (Snn(SnnOptions()), (CLINICAL, IMAGE), "takes vectors only; 'image' is a bag"),
        (Snn(SnnOptions()), (MAP,), "takes vectors only; 'map' is a grid"),
        (MeanPool(MeanPoolOptions()), tuple(ALL.values()), None),
        (MeanPool(MeanPoolOptions()), (MAP,), None),
        (Abmil(AbmilOptions()), (IMAGE,), None),
        (Abmil(AbmilOptions()), (MAP,), None),
        (Deepsets(DeepsetsOptions()), (MAP,), None),
        (Mifcn(MifcnOptions()), (IMAGE,), None),
        (Abmil(AbmilOptions()), (OMIC,), "takes bags and grids only; 'omic' is a vector"),
        (Mifcn(MifcnOptions()), (OMIC, CLINICAL), "takes bags and grids only; 'omic' is a vector"),
        (
            Abmil(AbmilOptions()),
            (OMIC, IMAGE, CLINICAL),
            "takes the bag 'image' alone: set fusion=concat or fusion=bilinear to add 'omic', 'clinical'",
        ),
        (Abmil(AbmilOptions()), (IMAGE, MAP), "takes exactly one bag; there are 2: 'image', 'map'"),
        (Abmil(AbmilOptions(**CONCAT)), (IMAGE, MAP, OMIC), "takes exactly one bag; there are 2: 'image', 'map'"),
        (Abmil(AbmilOptions(**CONCAT)), (IMAGE, OMIC), None),
        (Mifcn(MifcnOptions(fusion="bilinear")), (CLINICAL, MAP, OMIC), None),
        (
            Deepsets(DeepsetsOptions(**CONCAT)),
            (IMAGE,),
            "fusion=concat joins 'image' with vectors, and there is none: set fusion=none",
        ),
        (
            Mifcn(MifcnOptions(fusion="bilinear")),
            (CLINICAL, OMIC),
            "fusion=bilinear joins a bag or grid with vectors; 'clinical', 'omic' is all there is",
        ),
    ],
)
def test_skips_with_a_reason(model, specs, reason):
    assert model.skip(TASK, named(*specs)) == reason


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (SnnOptions, {"widths": []}),
        (SnnOptions, {"dropout": 1.0}),
        (SnnOptions, {"head_scale": 0}),
        (SnnOptions, {"dropout_kind": "none"}),
        (MeanPoolOptions, {"widths": [0]}),
        (MeanPoolOptions, {"pool": "max"}),
        (AbmilOptions, {"big": True}),
        (AbmilOptions, {"width": 0}),
        (AbmilOptions, {"attention_width": 0}),
        (AbmilOptions, {"hidden": 128}),
        (AbmilOptions, {"fusion": "concat", "rho": False}),
        (AbmilOptions, {"fusion": "lrb"}),
        (DeepsetsOptions, {"pool": "max"}),
        (DeepsetsOptions, {"rho": True}),
        (DeepsetsOptions, {"dropout": -0.1}),
        (DeepsetsOptions, {"scale": 4}),
        (DeepsetsOptions, {"fusion": "concat", "scale": 4}),
        (DeepsetsOptions, {"fusion": "bilinear", "scale": 0}),
        (DeepsetsOptions, {"fusion": "bilinear", "hidden": 4}),
        (DeepsetsOptions, {"vector_dropout": "plain"}),
        (MifcnOptions, {"clusters": 0}),
        (MifcnOptions, {"clusters": 2.5}),
        (MifcnOptions, {"fit_instances": 0}),
        (MifcnOptions, {"hidden": 0}),
    ],
)
def test_options_are_strict(kind, options):
    with pytest.raises(ValidationError):
        kind(**options)


def test_an_option_without_effect_is_refused_with_the_reason():
    with pytest.raises(ValidationError, match="scale has no effect with fusion=concat: leave it out"):
        BagOptions(fusion="concat", scale=4)
    with pytest.raises(ValidationError, match="hidden is the width of rho: set rho=true or leave hidden out"):
        AbmilOptions(hidden=64)
    with pytest.raises(ValidationError, match="hidden must be at least scale"):
        BagOptions(fusion="bilinear", hidden=4)


@pytest.mark.parametrize(
    "options",
    [
        AbmilOptions(),
        AbmilOptions(fusion="concat"),
        AbmilOptions(rho=True, hidden=64),
        DeepsetsOptions(fusion="bilinear", scale=4),
        MifcnOptions(clusters=4),
        MeanPoolOptions(),
    ],
)
def test_options_come_back_from_what_is_written_of_them(options):
    assert type(options).model_validate(options.model_dump(mode="json")) == options


def test_fusion_starts_as_torch_does_and_drops_out_where_published():
    torch.manual_seed(0)
    net = Deepsets(DeepsetsOptions(fusion="bilinear")).build(TASK, named(IMAGE, OMIC))
    torch.manual_seed(0)
    first = torch.nn.Linear(5, 512)
    assert torch.equal(net.embed[0].weight, first.weight)
    assert torch.equal(net.rho[0].weight, torch.nn.Linear(512, 256).weight)
    assert torch.equal(net.omic[0][0].weight, torch.nn.Linear(6, 256).weight)
    dropouts = [m for m in net.modules() if isinstance(m, torch.nn.Dropout | torch.nn.AlphaDropout)]
    assert {m.p for m in dropouts} == {0.25}
    assert [type(m) for m in dropouts].count(torch.nn.AlphaDropout) == 2
    assert [net.fusion.encode[2].p, net.fusion.combine[2].p] == [0.25, 0.25]
    assert (net.fusion.gates, net.fusion.skip) == ((True, True), False)
    assert net.fusion.value[0][0].out_features == 256 // 8
