import numpy as np
import pytest
import torch
from fusionbench_pathomic_fusion import PathomicFusion, PathomicOptions
from fusionbench_pathomic_fusion.fusion import BilinearGate, GatedKronecker
from fusionbench_pathomic_fusion.roles import roles
from pydantic import ValidationError

from fusionbench import DataError, PluginRef, discover
from fusionbench.core.protocol import TrainRecipe
from fusionbench.data.collate import collate
from fusionbench.session import Session
from fusionbench.suites.own_recipe import recipe_of
from fusionbench.suites.selection import Selection
from fusionbench.tools.reporter import SilentReporter
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


# two stages, as published


def one_fold(tmp_path, *models):
    """The cells of a fold of some models, run."""
    listed = ", ".join(f'"{model}"' for model in models)
    (tmp_path / "staged.toml").write_text(
        f'title = "Staged"\ndatasets = ["synthetic[cases=60]"]\nmodels = [{listed}]\n'
        f'modalities = [["vector", "bag"]]\n[protocol]\nfolds = 2\n[train]\nepochs = 6\nrestore_best = false\n'
    )
    session = Session(tmp_path / "results", home=tmp_path)
    report = session.run(str(tmp_path / "staged.toml"), Selection(folds="0"), track=False, reporter=SilentReporter())
    assert not report.failed
    plan, store = session.as_run("staged")
    return {str(cell.model): cell for cell in plan.todo() if cell.fold == 0}, store


def test_networks_of_each_modality_are_trained_first_loaded_and_frozen(tmp_path):
    name = "pathomic-fusion[pretrained=true]"
    cells, store = one_fold(tmp_path, name)
    whole = store.load(cells[name].key)
    assert [stage.epochs for stage in cells[name].recipe.stage] == [4, None]
    assert cells[name].own_recipe
    alone = {}
    for _, key in cells[name].members:
        alone |= {k: v for k, v in store.load(key).state.items() if k.startswith("module.encode.")}
    assert [(dict(m.model.options)["alone"], m.modalities) for m, _ in cells[name].members] == [
        ("path", ("bag",)),
        ("omic", ("vector",)),
    ]
    differ = {k for k, v in alone.items() if not np.array_equal(v, whole.state[k])}
    assert set(alone) == {k for k in whole.state if k.startswith("module.encode.")}
    assert differ == {k for k in alone if k.startswith("module.encode.omic.")}, "path stays, omic is trained on"
    stages = [value for epoch, _, quantity, value in whole.history if quantity == "stage"]
    assert stages == [1, 1, 1, 1, 2, 2]


def test_what_is_built_on_has_the_bound_of_the_whole():
    specs = {spec.name: spec for spec in (IMAGE, OMIC)}
    members = PathomicFusion(PathomicOptions(recipe="own", bounded=False)).members(TASK, specs)
    assert members
    assert [dict(member.model.options)["bounded"] for member in members] == [False] * len(members)


def test_the_released_recipe_is_one_option():
    own = recipe_of(discover(), PluginRef.parse("pathomic-fusion[recipe=own]"), TrainRecipe(alpha=0.4, patience=3))
    assert (own.optimizer, own.betas, own.lr, own.weight_decay) == ("adam", (0.5, 0.999), 1e-4, 4e-4)
    assert (own.epochs, own.hold, own.schedule, own.batch_size) == (30, 10.0, "linear", 32)
    assert (own.loss, own.cox_reduction, own.l1, own.l1_on) == ("cox", "cases", 3e-4, ("encode.omic.*",))
    assert own.patience is None
    assert not own.restore_best
    assert [stage.name for stage in own.stage] == ["fusion", "all but path"]
    first = recipe_of(discover(), PluginRef.parse("pathomic-fusion[alone=omic,recipe=own]"), TrainRecipe())
    assert (first.epochs, first.lr, first.batch_size, first.l1, first.l1_on) == (50, 2e-3, 64, 3e-4, ())
    assert not first.stage
    made = PathomicOptions(recipe="own")
    assert made.bounded
    assert made.pretrained
    members = PathomicFusion(made).members(TASK, named(IMAGE, CLINICAL, OMIC))
    assert [dict(m.model.options)["alone"] for m in members] == ["path", "graph", "omic"]
    assert all(dict(m.model.options)["recipe"] == "own" for m in members)


@pytest.mark.parametrize(
    ("specs", "role", "said"),
    [
        ((IMAGE, OMIC), "path", "alone=path takes one modality; there are 2: 'image', 'omic'"),
        ((IMAGE,), "omic", "alone=omic takes a vector (a table); 'image' is a bag"),
        ((IMAGE,), "graph", None),
        ((OMIC,), "path", None),
    ],
)
def test_what_is_taken_alone(specs, role, said):
    assert PathomicFusion(PathomicOptions(alone=role)).skip(TASK, named(*specs)) == said


def test_what_is_alone_has_nothing_before_it():
    with pytest.raises(ValidationError, match="alone=omic is what is trained first: leave pretrained out"):
        PathomicOptions(alone="omic", pretrained=True)
