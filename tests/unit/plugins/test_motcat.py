import numpy as np
import pytest
import torch
from fusionbench_motcat import Motcat, MotcatOptions, balanced_plan, unbalanced_plan
from fusionbench_motcat.network import Transport
from pydantic import ValidationError

from fusionbench import DataError, ModalitySpec, PluginError
from fusionbench.core.protocol import TrainRecipe, overlay
from tests.golden.replay.motcat import load_official, pieces
from tests.speed.plain_fusion import balanced_scaling, unbalanced_scaling
from tests.unit.network_cases import CLINICAL, GROUPED, IMAGE, TASK, close, named, of
from tests.unit.published_files import golden

NEEDS = "needs slide features (a feature folder) or an image, and at least one table; "
BLCA, UCEC = (94, 334, 521, 468, 1496, 479), (3, 24, 21, 22, 65, 15)
BIG = {"size": "big"}


@pytest.mark.parametrize(
    ("sizes", "options", "count"),
    [
        (BLCA, {}, 4_228_870),
        (BLCA, {"fusion": "bilinear"}, 4_427_974),
        (BLCA, BIG, 20_613_382),
        (UCEC, {}, 3_398_918),
    ],
)
def test_full_size_has_the_published_number_of_parameters(sizes, options, count):
    bounds = np.cumsum([0, *sizes])
    groups = {str(i): tuple(range(bounds[i], bounds[i + 1])) for i in range(6)}
    specs = named(ModalitySpec("omic", "vector", int(bounds[-1]), groups), ModalitySpec("image", "bag", 1024))
    with torch.device("meta"):
        net = Motcat(MotcatOptions(**options)).build(TASK, specs)
    assert sum(p.numel() for p in net.parameters()) == count


def test_plans_are_those_of_the_published_library():
    """Iterations to the very number; the error of the last one is a difference of nearly equal numbers."""
    file, *_ = golden("motcat/motcat_pieces")
    found = dict(pieces(file))
    assert len(found) == 42
    assert max(c.error for name, c in found.items() if name.endswith(("flow", "plan", "dist"))) < 1e-10
    assert all(c.error == 0 for name, c in found.items() if name.endswith("iterations"))


SIZES = (1, 2, 9, 40)


def ragged(seed=0, tokens=5):
    """Costs of bags of unequal sizes, with garbage where padded, and marginals."""
    g = torch.Generator().manual_seed(seed)
    cost = torch.rand(len(SIZES), max(SIZES), tokens, generator=g, dtype=torch.float64)
    mask = torch.arange(max(SIZES)) < torch.tensor(SIZES).unsqueeze(1)
    a = torch.rand(cost.shape[:2], generator=g, dtype=torch.float64) * mask
    b = torch.rand(len(SIZES), tokens, generator=g, dtype=torch.float64)
    cost = cost.masked_fill(~mask.unsqueeze(2), torch.nan)
    return cost, mask, a / a.sum(dim=1, keepdim=True), b / b.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("regulariser", ["entropy", "kl"])
@pytest.mark.parametrize(("reg", "tau"), [(0.1, 0.5), (0.05, 1.0), (0.02, 100.0)])
def test_unbalanced_plans_of_a_batch_are_the_plain_loop_case_by_case(reg, tau, regulariser):
    cost, mask, *_ = ragged()
    found = unbalanced_plan(cost, mask, reg, tau, regulariser)
    assert not found.mass[~mask].any()
    for i, size in enumerate(SIZES):
        plan, iterations = unbalanced_scaling(cost[i, :size], reg, tau, regulariser)
        assert int(found.iterations[i]) == iterations
        torch.testing.assert_close(found.mass[i, :size], plan, rtol=1e-10, atol=1e-13)


def test_balanced_plans_of_a_batch_are_the_plain_loop_case_by_case():
    cost, mask, a, b = ragged(1)
    found = balanced_plan(cost, mask, a, b, 0.1)
    assert not found.mass[~mask].any()
    for i, size in enumerate(SIZES):
        plan, iterations = balanced_scaling(cost[i, :size], a[i, :size], b[i], 0.1)
        assert int(found.iterations[i]) == iterations
        torch.testing.assert_close(found.mass[i, :size], plan, rtol=1e-10, atol=1e-13)


def test_a_regulariser_that_underflows_in_the_plain_loop_is_solved():
    cost, mask, *_ = ragged()
    plan = unbalanced_plan(cost, mask, 1e-4, 0.5)
    assert plan.error.isfinite().all()
    assert (plan.iterations > 1).all(), "factors beyond the largest float do not end it"
    found = plan.mass
    plain, _ = unbalanced_scaling(cost[1, :2], 1e-4, 0.5, "entropy")
    assert not plain.isfinite().all()
    assert found.isfinite().all()
    assert (found.sum(dim=(1, 2)) > 0.1).all()


def test_entropy_and_kl_differ_by_a_factor_of_the_bags_size():
    cost, mask, *_ = ragged()
    entropy, kl = (unbalanced_plan(cost, mask, 0.1, 0.5, kind).mass for kind in ("entropy", "kl"))
    for i, size in enumerate(SIZES):
        factor = (5 * size) ** (0.1 / 1.1)
        torch.testing.assert_close(entropy[i, :size], factor * kl[i, :size], rtol=1e-5, atol=0)


@pytest.mark.parametrize("solver", ["unbalanced", "balanced"])
def test_equal_embeddings_cost_nothing_and_stay_finite(solver):
    same = torch.ones(1, 3, 4, dtype=torch.float64)
    attended, mass = Transport(MotcatOptions(solver=solver))(same, same, torch.ones(1, 3, dtype=torch.bool))
    assert attended.isfinite().all()
    assert mass.isfinite().all()


def test_no_gradient_passes_through_the_plan():
    made = of(Motcat, GROUPED, IMAGE, group_widths=(16,), feedforward=24)
    net, batch = made.network(), made.batch()
    mass = net.coattention(batch)
    assert not mass.requires_grad
    attended = mass @ net.embed(batch.bags["image"].values)
    close(net.path(attended)[0], net._encode(batch).path)


def test_attention_is_shares_of_the_mass():
    made = of(Motcat, CLINICAL, GROUPED, IMAGE, group_widths=(16,), feedforward=24)
    net, batch = made.network(), made.batch()
    maps, mask = net.attention(batch), batch.bags["image"].mask
    close(maps["image"].sum(dim=-1), torch.ones(5, 1, 1, dtype=torch.float64))
    assert not maps["image"][:, 0, 0][~mask].any()
    assert maps["omic"].shape == (5, 1, 1, 2)
    assert not torch.allclose(net.coattention(batch).sum(dim=-1), torch.ones(5, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("specs", "reason"),
    [
        ((IMAGE, GROUPED), None),
        ((CLINICAL, GROUPED), NEEDS + "there are only vectors: 'clinical', 'omic'"),
        ((IMAGE,), NEEDS + "there is no vector: 'image'"),
    ],
)
def test_skips_with_a_reason(specs, reason):
    model = Motcat(MotcatOptions())
    assert model.skip(TASK, named(*specs)) == reason
    if reason is not None:
        with pytest.raises(DataError, match="motcat: "):
            model.build(TASK, named(*specs))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reg": 0}, "greater than 0"),
        ({"tau": -1}, "greater than 0"),
        ({"solver": "pot"}, "'unbalanced' or 'balanced'"),
        ({"solver": "balanced", "tau": 1.0}, "tau: of solver=unbalanced only"),
        ({"solver": "balanced", "regulariser": "kl"}, "regulariser: of solver=unbalanced only"),
        ({"micro_batch": 256}, "Extra inputs"),
    ],
)
def test_options_are_strict(options, reason):
    with pytest.raises(ValidationError, match=reason):
        MotcatOptions(**options)


def test_its_own_recipe_is_the_published_one():
    assert Motcat(MotcatOptions()).recipe() == {}
    own = overlay(TrainRecipe(), Motcat(MotcatOptions(recipe="own")).recipe())
    assert (own.optimizer, own.lr, own.weight_decay, own.batch_size, own.accumulate) == ("adam", 2e-4, 1e-5, 1, 32)


@pytest.mark.parametrize("key", ["ot_impl", "ot_reg", "ot_tau", "ot_reg_type", "omic_sizes"])
def test_a_config_without_its_keys_names_them(key):
    file, state, _ = golden("motcat/motcat_uot")
    with pytest.raises(PluginError, match=f"config of MOTCAT_Surv does not say what to build: {key} Field required"):
        load_official({k: v for k, v in file.config.items() if k != key}, state)
