import pytest
import torch
from fusionbench_pathomic_fusion import PathomicFusion, PathomicOptions
from fusionbench_pathomic_fusion.fusion import BilinearGate, GatedKronecker
from fusionbench_pathomic_fusion.roles import roles
from pydantic import ValidationError

from fusionbench import DataError
from fusionbench.data.collate import collate
from tests.unit.network_cases import CASES, CLINICAL, IMAGE, MAP, OMIC, TASK, named

TWO, THREE = {"path": 32, "omic": 32}, {"path": 32, "graph": 32, "omic": 32}
ON = {"gate_omic": True}


@pytest.mark.parametrize(
    ("widths", "options", "count"),
    [
        (TWO, ON, 143_744),
        (TWO, {**ON, "skip": True}, 147_968),
        (THREE, {**ON, "scale_graph": 2}, 1_276_080),
        (THREE, ON, 2_408_928),
        (THREE, {**ON, "skip": True, "fusion_width": 96}, 3_573_600),
    ],
)
def test_the_fusion_has_the_published_number_of_parameters(widths, options, count):
    with torch.device("meta"):
        fusion = GatedKronecker(widths, PathomicOptions(**options))
    assert sum(p.numel() for p in fusion.parameters()) == count


def test_layers_start_as_published():
    torch.manual_seed(0)
    net = PathomicFusion(PathomicOptions()).build(TASK, named(IMAGE, OMIC))
    gate = net.fusion.branches["path"].gate
    assert isinstance(gate, BilinearGate)
    assert gate.weight.abs().max() <= 32**-0.5
    first = net.fusion.encode[0]
    assert first.weight.std().item() == pytest.approx(first.in_features**-0.5, rel=0.05)
    assert not first.bias.any()
    assert net.fusion.branches["omic"].gate is None


@pytest.mark.parametrize(
    ("specs", "options", "found"),
    [
        ((IMAGE, OMIC), {}, {"path": "image", "omic": "omic"}),
        ((CLINICAL, OMIC), {}, {"path": "clinical", "omic": "omic"}),
        ((OMIC, CLINICAL), {"omic": "omic"}, {"path": "clinical", "omic": "omic"}),
        ((CLINICAL, IMAGE, OMIC), {}, {"path": "image", "graph": "clinical", "omic": "omic"}),
        ((CLINICAL, IMAGE, OMIC), {"path": "omic"}, {"path": "omic", "graph": "image", "omic": "clinical"}),
        ((IMAGE, MAP, OMIC), {}, {"path": "image", "graph": "map", "omic": "omic"}),
    ],
)
def test_roles(specs, options, found):
    given = roles(named(*specs), PathomicOptions(**options))
    assert {role: spec.name for role, spec in given.items()} == found
    assert list(given) == list(found)


@pytest.mark.parametrize(
    ("specs", "options", "reason"),
    [
        ((OMIC,), {}, "fuses two or three modalities; there are 1: 'omic'"),
        ((CLINICAL, OMIC, IMAGE, MAP), {}, "there are 4: 'clinical', 'omic', 'image', 'map'"),
        ((IMAGE, MAP), {}, r"needs a vector \(a table\) as omic; there is none among 'image', 'map'"),
        ((IMAGE, OMIC), {"path": "tma"}, "path=tma is none of the modalities 'image', 'omic'"),
        ((IMAGE, OMIC), {"omic": "image"}, "omic=image is a bag; omic is a vector"),
        ((CLINICAL, OMIC), {"omic": "omic", "path": "omic"}, "path and omic are both 'omic'"),
        ((IMAGE, OMIC), {"path": "omic"}, r"needs a vector \(a table\) as omic"),
    ],
)
def test_other_modalities_are_skipped_with_a_reason(specs, options, reason):
    model = PathomicFusion(PathomicOptions(**options))
    with pytest.raises(DataError, match=f"pathomic-fusion: .*{reason}"):
        model.build(TASK, named(*specs))


def test_a_branch_without_gate_may_be_reduced():
    """Published, it fails: the layer expects what the missing one would have reduced."""
    specs = named(IMAGE, OMIC)
    net = PathomicFusion(PathomicOptions(gate_path=False, scale_path=4)).build(TASK, specs).eval()
    assert net.fusion.branches["path"].out[0].in_features == 32
    assert net.fusion.encode[0].in_features == (8 + 1) * (32 + 1)
    assert net(collate(CASES, specs)).isfinite().all()


def test_a_bounded_output_lies_within_three():
    specs = named(CLINICAL, OMIC)
    net = PathomicFusion(PathomicOptions(bounded=True, head_scale=100)).build(TASK, specs).eval()
    assert 2 < net(collate(CASES, specs)).abs().max() <= 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"scale_path": 33}, "scale_path=33 divides a vector of width 32"),
        ({"omic_widths": (64, 4), "scale_omic": 8}, "scale_omic=8 divides a vector of width 4"),
        ({"omic_widths": ()}, "at least 1 item"),
        ({"pairs": "C"}, "'A' or 'B'"),
        ({"gate": "trilinear"}, "'bilinear' or 'linear'"),
        ({"dropout": 1.0}, "less than 1"),
        ({"grph_dim": 8}, "Extra inputs"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        PathomicOptions(**options)
