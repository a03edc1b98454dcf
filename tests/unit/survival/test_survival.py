from pathlib import Path

import numpy as np
import pytest
import torch
from sksurv.linear_model.coxph import BreslowEstimator

from fusionbench.core.errors import DataError
from fusionbench.survival import (
    assign_bins,
    breslow_baseline,
    class_weights,
    cox_partial_likelihood,
    cross_entropy_survival,
    discrete_hazard_nll,
    hazards_to_survival,
    interpolate_survival,
    risk_from_survival,
    time_bins,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "numbers"
ALPHAS = (0.0, 0.15, 0.25, 0.4, 0.5, 1.0)


@pytest.fixture(scope="module")
def published():
    """What the published MCAT, Porpoise and HEALNet losses give in float64; rows 0-4 are saturated."""
    return np.load(GOLDEN / "losses.npz")


@pytest.fixture
def inputs(published):
    logits, time_bin, censored = (torch.from_numpy(published[f"input/{k}"]) for k in ("logits", "Y", "c"))
    return logits.requires_grad_(), time_bin, censored == 0


@pytest.mark.parametrize("alpha", ALPHAS)
def test_clamped_nll_is_the_published_one(published, inputs, alpha):
    loss = discrete_hazard_nll(*inputs, alpha=alpha, clamp=1e-7)
    np.testing.assert_allclose(loss.detach(), published[f"output/nll_hazards_a{alpha}_persample"], atol=1e-8)
    loss.mean().backward()
    np.testing.assert_allclose(inputs[0].grad, published[f"output/nll_logits_a{alpha}_grad_logits"], atol=1e-8)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_weights_on_the_likelihood_term_are_healnets(published, inputs, alpha):
    weights = torch.from_numpy(published["input/healnet_class_weights"])
    loss = discrete_hazard_nll(
        *inputs, alpha=alpha, clamp=1e-7, weights=weights / weights.sum(), weight_on="likelihood"
    ).mean()
    assert loss.item() == pytest.approx(published[f"output/healnet_nll_a{alpha}_weighted_mean"].item(), abs=1e-8)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_clamped_ce_is_the_published_one_where_that_is_finite(published, inputs, alpha):
    loss = cross_entropy_survival(*inputs, alpha=alpha, clamp=1e-7)
    expected = published[f"output/ce_a{alpha}_persample"]
    finite = np.isfinite(expected)
    np.testing.assert_allclose(loss.detach().numpy()[finite], expected[finite], atol=1e-8)
    assert not finite.all()
    assert loss.isfinite().all()
    loss.mean().backward()
    gradient = published[f"output/ce_a{alpha}_grad_logits"]
    rows = np.isfinite(gradient).all(axis=1)
    np.testing.assert_allclose(inputs[0].grad.numpy()[rows], gradient[rows], atol=1e-8)


def test_cox_over_cases_is_the_published_one(published, inputs):
    theta = torch.from_numpy(published["input/cox_theta"]).requires_grad_()
    time = torch.from_numpy(published["input/cox_time"])
    loss = cox_partial_likelihood(theta, time, inputs[2], reduction="cases")
    assert loss.item() == pytest.approx(published["output/cox"].item(), abs=1e-8)
    loss.backward()
    np.testing.assert_allclose(theta.grad, published["output/cox_grad_theta"], atol=1e-8)


def test_risk_is_the_published_one(published, inputs):
    risk = risk_from_survival(hazards_to_survival(inputs[0]))
    np.testing.assert_allclose(risk.detach(), published["output/risk"], atol=1e-8)


@pytest.mark.parametrize("alpha", [0.0, 0.15, 0.4, 0.7, 1.0])
@pytest.mark.parametrize("eps", ["1e-07", "0.001"])
def test_nll_is_healnets_as_far_as_its_float32_goes(alpha, eps):
    golden = np.load(GOLDEN / "21_survival_losses.npz")
    logits, weights = (torch.from_numpy(golden[k]).double() for k in ("logits", "class_weights"))
    time_bin, event = torch.from_numpy(golden["y_disc"]), torch.from_numpy(golden["censorship"]) == 0
    loss = discrete_hazard_nll(
        logits, time_bin, event, alpha=alpha, clamp=float(eps), weights=weights / weights.sum(), weight_on="likelihood"
    )
    expected = golden[f"nll_per_sample/alpha{alpha}_eps{eps}_weighted"]
    np.testing.assert_allclose(loss, expected, rtol=5e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["inverse", "inverse_root"])
def test_class_weights_are_the_published_ones_on_our_scale(kind):
    golden = np.load(GOLDEN / "22_class_weights.npz")
    bins = golden["y_disc"][golden["train_indices"]]
    ours, theirs = class_weights(bins, 4, kind), golden[f"weights/{kind}"]
    np.testing.assert_allclose(ours / ours.sum(), theirs / theirs.sum(), atol=1e-12)
    assert (ours[bins]).sum() == pytest.approx(len(bins))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_bins_are_the_published_ones(case):
    golden = np.load(GOLDEN / "23_survival_bins.npz")
    time, event = golden[f"case{case}/survival_months"], golden[f"case{case}/censorship"] == 0
    bins = assign_bins(time, time_bins(time, event, 4))
    np.testing.assert_array_equal(bins, golden[f"case{case}/uncensored/y_disc"])


def test_bins_are_closed_on_the_left_and_open_outside():
    np.testing.assert_array_equal(assign_bins(np.array([-1.0, 4.9, 5.0, 9.0, 1e9]), (5.0, 9.0)), [0, 0, 1, 2, 2])


def test_censored_cases_do_not_move_the_edges():
    time = np.array([1.0, 2, 3, 4, 5, 100, 200])
    assert time_bins(time, time < 50, 4) == (2.0, 3.0, 4.0)


def test_tied_quantiles_are_merged():
    assert time_bins(np.array([1.0, 5, 5, 5, 5, 5, 9]), np.ones(7, bool), 4) == (5.0,)


def test_no_edge_where_no_event_lies_before_it():
    assert time_bins(np.array([5.0, 5, 5, 5, 5, 9]), np.ones(6, bool), 4) == ()


def test_bins_without_an_event_are_refused():
    with pytest.raises(DataError, match="none of the 3 training cases"):
        time_bins(np.arange(3.0), np.zeros(3, bool), 4)


@pytest.mark.parametrize("kind", ["none", "inverse", "inverse_root"])
def test_empty_bin_has_no_weight(kind):
    weights = class_weights(np.array([0, 0, 3]), 5, kind)
    assert weights.shape == (5,)
    np.testing.assert_array_equal(weights > 0, [True, False, False, True, False])


@pytest.mark.parametrize("loss", [discrete_hazard_nll, cross_entropy_survival])
@pytest.mark.parametrize("scale", [60.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_exact_losses_stay_finite_on_saturated_hazards(loss, scale, dtype):
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3).to(dtype)
    logits = (scale * signs.repeat_interleave(6, dim=0)).requires_grad_()
    time_bin, event = torch.arange(3).repeat(16), torch.tensor([True] * 3 + [False] * 3).repeat(8)
    values = loss(logits, time_bin, event, alpha=0.3)
    values.sum().backward()
    assert values.isfinite().all()
    assert logits.grad.isfinite().all()
    assert (logits.grad.abs().sum(dim=1) > 0).any()


@pytest.mark.parametrize("alpha", [0.0, 0.4])
@pytest.mark.parametrize("clamp", [None, 1e-7])
@pytest.mark.parametrize("loss", [discrete_hazard_nll, cross_entropy_survival])
def test_gradients_agree_with_finite_differences(loss, alpha, clamp):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(10, 4, dtype=torch.float64, generator=generator).requires_grad_()
    time_bin, event = torch.arange(10) % 4, torch.arange(10) % 3 > 0
    weights = torch.tensor([0.5, 1.0, 2.0, 0.7], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, time_bin, event, alpha=alpha, clamp=clamp, weights=weights), logits
    )


def test_cox_gradient_agrees_with_finite_differences():
    risk = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    time, event = torch.tensor([3.0, 3, 1, 2, 2, 5, 6, 6]), torch.tensor([1, 1, 0, 1, 0, 1, 0, 1]).bool()
    assert torch.autograd.gradcheck(lambda x: cox_partial_likelihood(x, time, event), risk)


def test_cox_stays_finite_far_out():
    risk = torch.tensor([500.0, -500.0, 0.0])
    assert cox_partial_likelihood(risk, torch.arange(3.0), torch.ones(3, dtype=torch.bool)).isfinite()


def test_cox_refuses_what_cannot_be_compared():
    one = torch.ones(1)
    with pytest.raises(ValueError, match="compares cases"):
        cox_partial_likelihood(one, one, one.bool())
    with pytest.raises(ValueError, match="observed event among its 3"):
        cox_partial_likelihood(torch.zeros(3), torch.arange(3.0), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        cox_partial_likelihood(torch.zeros(2, 1), torch.arange(2.0), torch.ones(2, dtype=torch.bool))


@pytest.mark.parametrize("bad", [-1, 4])
@pytest.mark.parametrize("loss", [discrete_hazard_nll, cross_entropy_survival])
def test_bins_outside_the_logits_are_refused(loss, bad):
    with pytest.raises(ValueError, match="outside the 4 bins"):
        loss(torch.zeros(2, 4), torch.tensor([0, bad]), torch.ones(2, dtype=torch.bool))


def test_breslow_is_scikit_survivals():
    rng = np.random.default_rng(0)
    time, event, risk = rng.integers(1, 20, 80).astype(float), rng.random(80) < 0.5, rng.normal(size=80)
    theirs = BreslowEstimator().fit(risk, event, time)
    times, hazard = breslow_baseline(risk, time, event)
    at = np.searchsorted(theirs.unique_times_, times)
    np.testing.assert_allclose(theirs.unique_times_[at], times)
    np.testing.assert_allclose(hazard, theirs.cum_baseline_hazard_.y[at], rtol=1e-12)
    expected = theirs.get_survival_function(risk[:3])
    np.testing.assert_allclose(np.exp(-hazard * np.exp(risk[0])), expected[0](times), rtol=1e-12)


def test_survival_is_interpolated_from_one_and_held_flat():
    got = interpolate_survival(np.array([[0.8, 0.4]]), np.array([10.0, 20.0]), np.array([0.0, 5, 10, 15, 20, 90]))
    np.testing.assert_allclose(got, [[1.0, 0.9, 0.8, 0.6, 0.4, 0.4]])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_short_way_of_the_exact_likelihood_is_the_long_one_bit_by_bit(weighted):
    """A clamp that never bites takes the long way."""
    generator = torch.Generator().manual_seed(0)
    for bins in (1, 2, 4, 9):
        logits = (8 * torch.randn(33, bins, generator=generator)).requires_grad_()
        own, event = torch.randint(bins, (33,), generator=generator), torch.rand(33, generator=generator) < 0.5
        weights = torch.rand(bins, generator=generator) if weighted else None
        made = []
        for clamp in (None, 1e-300):
            loss = discrete_hazard_nll(logits, own, event, weights=weights, clamp=clamp)
            made.append((loss, torch.autograd.grad(loss.sum() / 16, logits)[0]))
        assert all(torch.equal(a, b) for a, b in zip(*made, strict=True))
