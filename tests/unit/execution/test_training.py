import copy
import math

import numpy as np
import pytest
import torch
from sksurv.linear_model.coxph import BreslowEstimator
from sksurv.metrics import concordance_index_censored
from torch import nn

from fusionbench import survival
from fusionbench.core.errors import DataError, FusionBenchError, PluginError, ResultsError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, CaseSet, ModalitySpec, PreparedBag, PreparedCase, SurvivalTargets, Task
from fusionbench.data.collate import batches, collate
from fusionbench.execution.training import loop, optimizers
from fusionbench.execution.training.loop import train_module
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.nn import GatedAttention, masked_sum, one_head

CPU = torch.device("cpu")
EDGES = (5.0, 12.0, 25.0)
TASK, COX = Task(n_outputs=4, edges=EDGES), Task(n_outputs=1)
SPECS = {"omic": ModalitySpec("omic", "vector", 3), "wsi": ModalitySpec("wsi", "bag", 5)}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class Net(nn.Module):
    """Omics and an attention-pooled bag, each counted where it is there."""

    def __init__(self, n_outputs=4, dropout=0.2):
        super().__init__()
        self.omic, self.wsi = nn.Linear(3, 6), nn.Linear(5, 6)
        self.pool, self.drop, self.head = GatedAttention(6, 4), nn.Dropout(dropout), nn.Linear(6, n_outputs)

    def forward(self, batch):
        omic, wsi = batch.bags["omic"], batch.bags["wsi"]
        pooled, _ = self.pool(self.wsi(wsi.values), wsi.mask)
        return self.head(self.drop((self.omic(omic.values[:, 0]) * omic.present.unsqueeze(1) + pooled).tanh()))

    def attention(self, batch):
        wsi = batch.bags["wsi"]
        return {"wsi": one_head(self.pool(self.wsi(wsi.values), wsi.mask)[1])}


class Linear(nn.Module):
    """The vector alone, without bias unless asked for."""

    def __init__(self, n_outputs=4, bias=False):
        super().__init__()
        self.map = nn.Linear(3, n_outputs, bias=bias)

    def forward(self, batch):
        return self.map(batch.bags["omic"].values[:, 0])


def cohort(n, seed=0, *, events=0.6, bags=True, signal=1.0):
    """Cases whose first omic feature shortens survival; bags of 1 to 9 instances, some modalities missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    data = {}
    for i in range(n):
        parts = {}
        if i % 5 or not bags:
            parts["omic"] = PreparedBag(torch.tensor(x[i : i + 1], dtype=torch.float32))
        if bags and (i % 3 or i % 5 == 0):
            parts["wsi"] = PreparedBag(torch.tensor(rng.normal(size=(1 + i % 9, 5)), dtype=torch.float32))
        data[f"c{i}"] = parts
    time = rng.exponential(15 * np.exp(-signal * x[:, 0]))
    targets = SurvivalTargets(time, rng.random(n) < events, survival.assign_bins(time, EDGES))
    cases = tuple(Case(k, k, None, dict.fromkeys(v, 0)) for k, v in data.items())
    return CaseSet(cases, SPECS, targets, lambda c, seen: PreparedCase(c.id, {k: data[c.id][k] for k in seen}))


def fit(module=None, train=None, val=None, *, task=TASK, seed=0, init=0, progress=None, **recipe):
    """A trained predictor and what was logged."""
    torch.manual_seed(init)
    module = module() if isinstance(module, type) else module or Net(task.n_outputs)
    train, val = cohort(30) if train is None else train, cohort(14, 1) if val is None else val
    history = {}
    settings = TrainRecipe.model_validate({"epochs": 3, "batch_size": 8, "lr": 0.01, "patience": None} | recipe)
    predictor = train_module(
        module, task, SPECS, train, val, settings, seed=seed, device=CPU, log=history.__setitem__, progress=progress
    )
    return predictor, history


def parameters(predictor):
    return torch.cat([p.detach().flatten() for p in predictor.module.parameters()])


# what is learnt and logged


@pytest.mark.parametrize(("loss", "alpha"), [("nll", 0.0), ("nll", 0.4), ("ce", 0.4), ("cox", 0.0)])
def test_signal_is_found(loss, alpha):
    task = COX if loss == "cox" else TASK
    train, val = cohort(160, bags=False, signal=2.0), cohort(80, 1, bags=False, signal=2.0)
    module, recipe = Linear(task.n_outputs, bias=True), {"epochs": 15, "lr": 0.05, "loss": loss, "alpha": alpha}
    predictor, history = fit(module, train, val, task=task, **recipe)
    assert history[15]["train/loss"] < history[1]["train/loss"]
    risk = predictor.predict(val.without_targets()).risk
    assert concordance_index_censored(val.targets.event, val.targets.time, risk)[0] > 0.75


def test_quantities_have_these_names():
    reported = []
    _, history = fit(progress=lambda *numbers: reported.append(numbers))
    assert list(history) == [1, 2, 3]
    assert reported == [(1, 3), (2, 3), (3, 3)]
    assert set(history[1]) == {"train/loss", "val/loss", "val/c_index", "lr"}
    assert set(fit(task=COX, loss="cox")[1][1]) == {*history[1], "train/skipped_batches"}


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "radam", "sgd"])
def test_every_optimiser_learns(optimizer):
    _, history = fit(optimizer=optimizer, epochs=6, lr=0.05, schedule="constant")
    assert history[6]["train/loss"] < history[1]["train/loss"]


def test_train_loss_is_the_weighted_mean_over_cases():
    train = cohort(20)
    module = Net(dropout=0.0)
    torch.manual_seed(0)
    batch = collate(list(train), SPECS, train.targets)
    t = batch.targets
    weights = torch.tensor(survival.class_weights(t.time_bin.numpy(), 4, "inverse"))
    expected = (
        survival.discrete_hazard_nll(module(batch), t.time_bin, t.event, alpha=0.3, weights=weights).mean().item()
    )
    _, history = fit(module, train, epochs=1, batch_size=20, alpha=0.3, class_weights="inverse", l1=0.1)
    assert history[1]["train/loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", ["nll", "ce"])
def test_validation_loss_is_the_plain_likelihood_whatever_is_trained(loss):
    val = cohort(14, 1)
    recipe = {"loss": loss, "alpha": 0.4, "class_weights": "inverse", "clamp": 0.1, "restore_best": False, "epochs": 1}
    predictor, history = fit(val=val, **recipe)
    logits = predictor.logits(val)
    bins, event = torch.tensor(val.targets.time_bin), torch.tensor(val.targets.event)
    expected = survival.discrete_hazard_nll(logits, bins, event).mean().item()
    assert history[1]["val/loss"] == pytest.approx(expected, rel=1e-12)
    assert predictor.validation_loss == history[1]["val/loss"]
    risk = predictor.predict(val.without_targets()).risk
    assert history[1]["val/c_index"] == concordance_index_censored(val.targets.event, val.targets.time, risk)[0]


def test_class_weights_come_from_training_bins():
    flat, weighted = fit(class_weights="none")[0], fit(class_weights="inverse")[0]
    assert not torch.equal(parameters(flat), parameters(weighted))


# optimiser steps


def test_accumulated_batches_make_the_step_of_a_bigger_batch():
    train = cohort(32, bags=False)
    big = fit(Linear, train, optimizer="sgd", batch_size=32, epochs=1, momentum=0.0)[0]
    small = fit(Linear, train, optimizer="sgd", batch_size=8, accumulate=4, epochs=1)[0]
    torch.testing.assert_close(parameters(big), parameters(small))
    torch.manual_seed(0)
    assert not torch.equal(parameters(big), Linear().map.weight.detach().flatten())


def test_incomplete_window_is_a_step_of_its_own_mean():
    """5 cases in batches of 2 under accumulate=8: one window, one step over all five."""
    train = cohort(5, bags=False)
    one = fit(Linear, train, optimizer="sgd", batch_size=5, epochs=1)[0]
    window = fit(Linear, train, optimizer="sgd", batch_size=2, accumulate=8, epochs=1)[0]
    torch.testing.assert_close(parameters(one), parameters(window))


@pytest.mark.parametrize("reduction", ["events", "cases"])
def test_accumulated_cox_batches_share_one_mean_over_their_units(reduction):
    train, lr = cohort(12, bags=False), 0.1
    recipe = {"optimizer": "sgd", "lr": lr, "schedule": "constant", "weight_decay": 0, "epochs": 1}
    predictor, history = fit(
        Linear(1), train, task=COX, loss="cox", batch_size=5, accumulate=3, cox_reduction=reduction, **recipe
    )
    torch.manual_seed(0)
    module = Linear(1)
    order = torch.Generator().manual_seed(derive(0, "order"))
    total, units = torch.zeros(()), 0
    for index in batches([12] * 12, 5, order):
        batch = collate([train[i] for i in index], SPECS, train.take(index).targets)
        t = batch.targets
        n = int(t.event.sum()) if reduction == "events" else len(index)
        total = total + n * survival.cox_partial_likelihood(module(batch)[:, 0], t.time, t.event, reduction=reduction)
        units += n
    (total / units).backward()
    assert history[1]["train/loss"] == pytest.approx((total / units).item(), rel=1e-5)
    torch.testing.assert_close(predictor.module.map.weight, module.map.weight - lr * module.map.weight.grad)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_l1_is_added_once_a_step_with_its_strength(accumulate):
    """Plain gradient descent: one step with L1 differs from one without by lr x strength x sign."""
    train, lr, strength = cohort(8, bags=False), 0.1, 0.02
    recipe = {"optimizer": "sgd", "lr": lr, "batch_size": 8 // accumulate, "accumulate": accumulate, "epochs": 1}
    recipe |= {"schedule": "constant", "weight_decay": 0.0}
    without, with_l1 = fit(Linear, train, **recipe)[0], fit(Linear, train, l1=strength, **recipe)[0]
    torch.manual_seed(0)
    start = Linear().map.weight.detach().flatten()
    torch.testing.assert_close(parameters(without) - parameters(with_l1), lr * strength * start.sign())


def test_l1_reaches_parameters_the_loss_does_not():
    module = Linear()
    module.unused = nn.Parameter(torch.tensor([2.0, -3.0]))
    fit(module, cohort(8, bags=False), optimizer="sgd", lr=0.1, l1=0.5, schedule="constant", weight_decay=0, epochs=1)
    torch.testing.assert_close(module.unused.detach(), torch.tensor([1.95, -2.95]))


def test_gradients_are_clipped():
    train = cohort(8, bags=False)
    recipe = {"optimizer": "sgd", "lr": 1.0, "epochs": 1, "schedule": "constant", "weight_decay": 0}
    torch.manual_seed(0)
    start = Linear().map.weight.detach().flatten()
    step = parameters(fit(Linear, train, grad_clip=0.01, **recipe)[0]) - start
    assert step.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert (parameters(fit(Linear, train, **recipe)[0]) - start).norm() > 0.1


def rates(schedule, epochs=10, **recipe):
    """The learning rate of each optimiser step: one step an epoch."""
    train = cohort(8, bags=False)
    _, history = fit(Linear, train, train, batch_size=8, epochs=epochs, lr=0.1, schedule=schedule, **recipe)
    return [values["lr"] for values in history.values()]


def test_schedules_follow_their_curves():
    assert rates("constant") == pytest.approx([0.1] * 10)
    assert rates("cosine") == pytest.approx([0.05 * (1 + math.cos(math.pi * i / 10)) for i in range(10)])
    up = [0.1 / 25 + (0.1 - 0.1 / 25) * (1 - math.cos(math.pi * i / 2)) / 2 for i in range(3)]
    low = 0.1 / 25 / 1e4
    down = [low + (0.1 - low) * (1 + math.cos(math.pi * i / 7)) / 2 for i in range(1, 8)]
    assert rates("onecycle") == pytest.approx(up + down)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_onecycle_takes_every_optimiser_and_a_single_step(optimizer):
    assert len(rates("onecycle", epochs=1, optimizer=optimizer)) == 1
    assert rates("onecycle", optimizer=optimizer)[2] == pytest.approx(0.1)


def test_schedule_ends_with_the_last_step_of_several_an_epoch():
    train = cohort(30, bags=False)
    _, history = fit(Linear, train, train, batch_size=8, accumulate=3, epochs=5, schedule="cosine", lr=0.1)
    steps = 10
    expected = [0.05 * (1 + math.cos(math.pi * (2 * e + 1) / steps)) for e in range(5)]
    assert [v["lr"] for v in history.values()] == pytest.approx(expected)


# batches


def test_batch_size_of_one_and_a_last_batch_of_one():
    for size in (1, 29):
        assert math.isfinite(fit(batch_size=size)[1][3]["train/loss"])


def test_drawn_instances_change_with_the_epoch_and_not_with_batch_mates():
    seen = {}

    class Spy(Net):
        def forward(self, batch):
            if self.training:
                for case, values in zip(batch.ids, batch.bags["wsi"].values, strict=True):
                    seen.setdefault(case, []).append(values)
            return super().forward(batch)

    train = cohort(30)
    fit(Spy(), train, max_instances=4, epochs=4)
    first = dict(seen)
    seen.clear()
    fit(Spy(), train, max_instances=4, epochs=4, batch_size=3)
    assert max(v.shape[0] for values in seen.values() for v in values) == 4
    long = next(c for c in train if "wsi" in c.bags and len(c.bags["wsi"].values) == 9)
    assert not all(torch.equal(first[long.id][0], v) for v in first[long.id])
    assert all(torch.equal(a, b) for a, b in zip(first[long.id], seen[long.id], strict=True))


def test_evaluation_sees_all_instances():
    predictor, _ = fit(max_instances=1, epochs=1)
    cases = cohort(14, 1).without_targets()
    assert predictor.attention(cases)["wsi"].weights.shape == (14, 1, 1, 9)


def test_predictions_depend_on_no_neighbour():
    predictor, _ = fit()
    cases = cohort(20, 2).without_targets()
    together = predictor.predict(cases).risk
    predictor.batch_size = 3
    in_threes = predictor.predict(cases).risk
    alone = [predictor.predict(cases[i : i + 1]).risk[0] for i in range(20)]
    np.testing.assert_allclose(together, in_threes, atol=1e-6)
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_cox_skips_and_counts_batches_without_an_event():
    train = cohort(16, bags=False)
    train.targets.event[:] = False
    train.targets.event[3] = True
    _, history = fit(Linear(1), train, task=COX, loss="cox", batch_size=2, epochs=2)
    assert [v["train/skipped_batches"] for v in history.values()] == [7, 7]


# early stopping


def trail(**recipe):
    """A fit on pure noise, whose validation loss soon rises, with the weights after each epoch."""
    weights = {}
    module = Net(dropout=0.0)
    train, val = cohort(24, signal=0.0), cohort(20, 7, signal=0.0)
    torch.manual_seed(3)
    history = {}

    def log(epoch, values):
        history[epoch] = values["val/loss"]
        weights[epoch] = torch.cat([p.detach().clone().flatten() for p in module.parameters()])

    settings = TrainRecipe(epochs=40, batch_size=8, lr=0.02, schedule="constant", **recipe)
    return train_module(module, TASK, SPECS, train, val, settings, seed=0, device=CPU, log=log), history, weights, val


def test_best_weights_are_really_restored():
    predictor, history, weights, val = trail(patience=5)
    best = min(history, key=history.get)
    assert len(history) == best + 5 < 40
    assert predictor.best_epoch == best
    assert torch.equal(parameters(predictor), weights[best])
    assert not torch.equal(weights[best], weights[best + 5])
    bins, event = torch.tensor(val.targets.time_bin), torch.tensor(val.targets.event)
    assert survival.discrete_hazard_nll(predictor.logits(val), bins, event).mean().item() == history[best]
    assert predictor.validation_loss == history[best]


def test_last_weights_are_kept_if_the_recipe_says_so():
    predictor, history, weights, _ = trail(patience=5, restore_best=False)
    last = max(history)
    assert last < 40
    assert predictor.best_epoch == last
    assert torch.equal(parameters(predictor), weights[last])
    assert predictor.validation_loss == history[last]


def test_without_patience_all_epochs_are_trained_and_the_best_restored():
    predictor, history, weights, _ = trail(patience=None)
    assert len(history) == 40
    assert predictor.best_epoch == min(history, key=history.get) < 40
    assert torch.equal(parameters(predictor), weights[predictor.best_epoch])


def test_undefined_validation_loss_trains_on_and_says_so():
    val = cohort(6, 1)
    val.targets.event[:] = False
    predictor, history = fit(val=val, task=COX, loss="cox", epochs=5, patience=1)
    assert len(history) == 5
    assert set(history[1]) == {"train/loss", "lr", "train/skipped_batches"}
    assert predictor.best_epoch == 5
    assert math.isnan(predictor.validation_loss)
    assert predictor.notes == ("the cox loss is undefined on the validation cases: all epochs were trained",)
    assert fit(val=val, epochs=1)[0].notes == ()


# reproducibility


@pytest.mark.parametrize("recipe", [{}, {"max_instances": 3, "accumulate": 2, "optimizer": "radam"}])
def test_same_seed_same_bits_whatever_went_before(recipe):
    torch.manual_seed(0)
    module = Net()
    twin, third = copy.deepcopy(module), copy.deepcopy(module)
    torch.manual_seed(11)
    state = torch.get_rng_state()
    one, logged = fit(module, init=11, **recipe)
    assert torch.equal(torch.get_rng_state(), state)
    two, logged_again = fit(twin, init=12, **recipe)
    assert torch.equal(parameters(one), parameters(two))
    assert logged == logged_again
    assert not torch.equal(parameters(one), parameters(fit(third, seed=1, **recipe)[0]))


# predictions


def test_survival_stands_at_the_edges():
    predictor, _ = fit()
    cases = cohort(10, 4).without_targets()
    prediction = predictor.predict(cases)
    curve = torch.cumprod(1 - predictor.logits(cases).sigmoid(), dim=1).numpy()
    np.testing.assert_allclose(prediction.survival, curve[:, :3], atol=1e-12)
    np.testing.assert_allclose(prediction.risk, -curve.sum(axis=1), atol=1e-12)
    np.testing.assert_array_equal(prediction.times, EDGES)
    assert prediction.ids == cases.ids
    assert prediction.risk.dtype == prediction.survival.dtype == np.float64


def test_one_bin_has_no_survival_times():
    train = cohort(12)
    train.targets.time_bin[:] = 0
    predictor, _ = fit(Net(1), train, train, task=Task(n_outputs=1), epochs=1)
    assert predictor.predict(train.without_targets()).survival is None


def test_cox_has_the_survival_of_scikit_survivals_breslow():
    train = cohort(30, bags=False)
    predictor, _ = fit(Linear(1), train, task=COX, loss="cox", optimizer="adam")
    risk = predictor.predict(train.without_targets()).risk
    theirs = BreslowEstimator().fit(risk, train.targets.event, train.targets.time)
    test = cohort(6, 5, bags=False).without_targets()
    prediction = predictor.predict(test)
    np.testing.assert_array_equal(prediction.times, np.unique(train.targets.time[train.targets.event]))
    for row, step in zip(prediction.survival, theirs.get_survival_function(prediction.risk), strict=True):
        np.testing.assert_allclose(row, step(prediction.times), rtol=1e-9)


@pytest.mark.parametrize("loss", ["nll", "cox"])
def test_state_restores_an_equal_predictor(loss):
    task = COX if loss == "cox" else TASK
    predictor, _ = fit(task=task, loss=loss)
    state = predictor.state()
    cases = cohort(10, 4).without_targets()
    before = predictor.predict(cases)
    restored = TorchPredictor.restore(Net(task.n_outputs), state, task, SPECS, TrainRecipe(), CPU)
    after = restored.predict(cases)
    np.testing.assert_array_equal(before.risk, after.risk)
    np.testing.assert_array_equal(before.survival, after.survival)
    assert (restored.best_epoch, restored.validation_loss) == (predictor.best_epoch, predictor.validation_loss)
    with torch.no_grad():
        predictor.module.head.bias.add_(1)
    assert not np.array_equal(state["module.head.bias"], predictor.state()["module.head.bias"])


def test_state_of_another_model_is_refused():
    state = fit(epochs=1)[0].state()
    with pytest.raises(ResultsError, match=r"do not fit this model.*map\.weight"):
        TorchPredictor.restore(Linear(), state, TASK, SPECS, TrainRecipe(), CPU)


def test_attention_has_a_row_for_each_case_and_sums_to_one():
    predictor, _ = fit(epochs=1)
    cases = cohort(12, 4).without_targets()
    predictor.batch_size = 3
    weights = predictor.attention(cases)["wsi"].weights[:, 0, 0]
    for case, row in zip(cases, weights, strict=True):
        n = len(case.bags["wsi"].values) if "wsi" in case.bags else 0
        assert row.sum().item() == pytest.approx(1.0 if n else 0.0, abs=1e-6)
        assert (row[n:] == 0).all()
        assert (row[:n] > 0).all()
    assert fit(Linear, cohort(8, bags=False), epochs=1)[0].attention(cases) is None


# errors


def test_loss_that_is_not_finite_names_the_epoch_and_the_remedy():
    class Burst(Linear):
        def forward(self, batch):
            return super().forward(batch) + (math.nan if self.training else 0.0)

    with pytest.raises(FusionBenchError, match=r"training loss of epoch 1 is nan: lower train\.lr \(now 0\.01\)"):
        fit(Burst, cohort(8, bags=False))


def test_prediction_that_is_not_finite_names_the_case():
    class Hole(Linear):
        def forward(self, batch):
            rows = torch.tensor([0.0 if self.training or i != "c2" else math.inf for i in batch.ids])
            return super().forward(batch) + rows.unsqueeze(1)

    with pytest.raises(FusionBenchError, match=r"validation after epoch 1: Hole gives NaN or inf for case 'c2'"):
        fit(Hole, cohort(8, bags=False))


def test_wrong_output_shape_is_the_plugins_fault():
    with pytest.raises(PluginError, match=r"Linear returned logits of shape \(8, 3\), expected .* \(8, 4\)"):
        fit(Linear(3), cohort(8, bags=False))


@pytest.mark.parametrize("wrong", [-1, 4])
def test_bins_outside_the_task_are_refused_before_any_step(wrong):
    train = cohort(30)
    train.targets.time_bin[3] = wrong
    with pytest.raises(ValueError, match=r"lie outside the 4 bins of the task"):
        fit(Net(), train, progress=lambda *_: pytest.fail("trained"))


def test_nothing_to_learn_from_is_refused():
    none = cohort(8)
    none.targets.event[:] = False
    with pytest.raises(DataError, match="none of the 8 training cases has an observed event"):
        fit(train=none, task=COX, loss="cox")
    with pytest.raises(DataError, match="no training case"):
        fit(train=none[:0])
    with pytest.raises(DataError, match="validation cases have no targets"):
        fit(val=none.without_targets())
    with pytest.raises(ValueError, match="one output, got 4"):
        fit(loss="cox")


def test_weights_of_sum_one_scale_the_loss_and_leave_the_optimum():
    train = cohort(40, bags=False)
    counts = np.bincount(train.targets.time_bin, minlength=4)
    ours = survival.class_weights(train.targets.time_bin, 4, "inverse")
    first = [fit(Linear(), train, epochs=1, class_weights="inverse", weight_sum=s)[1][1] for s in ("cases", "one")]
    assert counts.all()
    assert first[0]["train/loss"] / first[1]["train/loss"] == pytest.approx(ours.sum(), rel=0.02)


def test_weights_may_leave_the_alpha_term_alone():
    train = cohort(40, bags=False)
    losses = {
        where: fit(Linear(), train, epochs=1, class_weights="inverse", alpha=0.4, weight_on=where)[1][1]["train/loss"]
        for where in ("all", "likelihood")
    }
    assert losses["all"] != losses["likelihood"]


def test_early_stopping_may_see_the_loss_as_trained():
    train, val = cohort(40, bags=False), cohort(30, seed=1, bags=False)
    recipe = {"epochs": 1, "class_weights": "inverse", "alpha": 0.4, "clamp": 1e-7}
    _, of_plain = fit(Linear(), train, val, **recipe)
    trained, of_trained = fit(Linear(), train, val, **recipe, validation_loss="as-trained")
    logits = trained.logits(val)
    t = val.targets
    bins, event = torch.tensor(t.time_bin), torch.tensor(t.event)
    weights = torch.tensor(survival.class_weights(train.targets.time_bin, 4, "inverse"))
    exact = survival.discrete_hazard_nll(logits, bins, event).mean().item()
    weighted = survival.discrete_hazard_nll(logits, bins, event, alpha=0.4, clamp=1e-7, weights=weights).mean().item()
    assert of_plain[1]["val/loss"] == pytest.approx(exact, rel=1e-6)
    assert of_trained[1]["val/loss"] == pytest.approx(weighted, rel=1e-6)
    assert exact != pytest.approx(weighted, rel=1e-3)


def test_the_l1_factor_multiplies_the_strength():
    train = cohort(40, bags=False)
    states = [
        fit(Linear(), train, epochs=2, **l1)[0].state()["module.map.weight"]
        for l1 in ({"l1": 0.16}, {"l1": 0.01, "l1_factor": 16.0}, {"l1": 0.01})
    ]
    np.testing.assert_allclose(states[0], states[1], rtol=1e-6)
    assert not np.allclose(states[0], states[2])


# compiled steps


class Bent(nn.Module):
    """Of the bag: a hyperbolic tangent of a linear map, summed."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(5, 4)

    def forward(self, batch):
        return masked_sum(self.map(batch.bags["wsi"].values).tanh(), batch.bags["wsi"].mask)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_steps_are_the_same_steps_and_prediction_is_not_compiled():
    (plain, before), (compiled, after) = (fit(Bent, epochs=2, compile=on) for on in (False, True))
    for epoch in (1, 2):
        assert after[epoch] == pytest.approx(before[epoch], rel=1e-4)
    torch.testing.assert_close(parameters(compiled), parameters(plain), rtol=1e-3, atol=1e-5)
    assert type(compiled.module) is Bent
    assert list(compiled.state()) == list(plain.state())


class Branching(nn.Module):
    """Another program for every number of instances."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(5, 4)

    def forward(self, batch):
        wsi = batch.bags["wsi"]
        return self.map(wsi.values.sum(dim=1)) * (1 + float(str(wsi.values.shape[1])))


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_compiles_for_ever_is_refused(monkeypatch):
    monkeypatch.setattr(optimizers, "MOST_PROGRAMS", 1)
    monkeypatch.setattr(
        loop, "training_module", lambda module, recipe: torch.compile(module, dynamic=True, backend="eager")
    )
    with pytest.raises(FusionBenchError, match=r"train.compile: .* more than 1 programs .*recompile_limit"):
        fit(Branching(), compile=True)


@pytest.mark.filterwarnings("ignore")
def test_what_cannot_be_compiled_fails_with_its_reason(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here\nand more lines")

    monkeypatch.setattr(loop, "training_module", lambda module, recipe: torch.compile(module, backend=broken))
    with pytest.raises(FusionBenchError, match=r"train.compile: torch cannot compile the model.*no compiler here"):
        fit(Linear(), compile=True)


def test_compiled_is_a_recipe_of_its_own():
    assert "compile" not in TrainRecipe().model_dump()
    assert TrainRecipe(compile=True).model_dump()["compile"] is True
