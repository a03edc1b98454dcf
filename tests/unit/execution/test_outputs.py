"""Auxiliary losses, logits after steps, and targets that a module is given in training."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fusionbench import Outputs, PreparationContext, Steps, survival
from fusionbench.core.errors import FusionBenchError, PluginError
from fusionbench.data.collate import collate
from tests.unit.execution.test_training import COX, SPECS, TASK, Linear, Net, cohort, fit, parameters


class WithLosses(nn.Module):
    """The omic vector through a linear layer; `made(module, batch, logits)` gives the losses."""

    def __init__(self, made, weights=None, n_outputs=4):
        super().__init__()
        self.inner, self.extra = Linear(n_outputs, bias=True), nn.Linear(3, 1)
        self.made, self.weights = made, weights or {}

    def forward(self, batch):
        return Outputs(self.inner(batch), self.made(self, batch), self.weights)


def omic(batch):
    return batch.bags["omic"].values[:, 0]


def guessed(module, batch):
    """(case,) a loss of its own."""
    return (module.extra(omic(batch))[:, 0] - 1).square()


def per_case(module, batch):
    return {"guess": guessed(module, batch)}


def as_scalar(module, batch):
    return {"guess": guessed(module, batch).mean()}


BOTH = pytest.mark.parametrize("made", [per_case, as_scalar], ids=["a case", "a scalar"])


@BOTH
def test_an_auxiliary_loss_is_the_mean_over_all_cases_of_the_epoch(made):
    """A step of lr 1e-12 leaves the weights as they are; the last batch has 2 of the 10 cases."""
    train, module = cohort(10), WithLosses(made)
    batch = collate(list(train), SPECS, train.targets)
    expected = guessed(module, batch).mean().item()
    _, history = fit(module, train, cohort(7, 1), epochs=1, batch_size=8, lr=1e-12)
    assert history[1]["train/guess"] == pytest.approx(expected, rel=1e-5)
    assert set(history[1]) >= {"train/loss", "val/loss", "val/guess"}
    val = collate(list(cohort(7, 1)), SPECS)
    assert history[1]["val/guess"] == pytest.approx(guessed(module, val).mean().item(), rel=1e-5)


@BOTH
@pytest.mark.parametrize("weight", [0.0, 0.3, -2.0])
def test_what_is_trained_is_the_task_loss_plus_the_weighted_ones(made, weight):
    """One step of SGD over an accumulated window of 8 and 2 cases: the gradient of the mean over all ten."""
    train, module = cohort(10), WithLosses(made, {"guess": weight})
    batch = collate(list(train), SPECS, train.targets)
    t = batch.targets
    task = survival.discrete_hazard_nll(module.inner(batch), t.time_bin, t.event).mean()
    (task + weight * guessed(module, batch).mean()).backward()
    expected = torch.cat([(p - 0.1 * p.grad).detach().flatten() for p in module.parameters()])
    module.zero_grad()
    recipe = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "schedule": "constant"}
    predictor, _ = fit(module, train, epochs=1, batch_size=8, accumulate=2, **recipe)
    torch.testing.assert_close(parameters(predictor), expected, rtol=1e-5, atol=1e-6)


def test_the_task_loss_may_be_weighed_too():
    train, recipe = cohort(10), {"optimizer": "sgd", "weight_decay": 0.0, "schedule": "constant", "epochs": 1}
    torch.manual_seed(0)
    half = WithLosses(lambda module, batch: {}, {"loss": 0.5})
    torch.manual_seed(0)
    plain = WithLosses(lambda module, batch: {})
    made, history = fit(half, train, lr=0.2, **recipe)
    other, usual = fit(plain, train, lr=0.1, **recipe)
    torch.testing.assert_close(parameters(made), parameters(other))
    assert history[1]["train/loss"] == usual[1]["train/loss"]


def test_losses_choose_nothing_and_predictions_read_none():
    """With a loss that is only logged, weights, early stopping and predictions are those of the plain network."""
    train, val = cohort(30), cohort(14, 1)

    class Logged(Net):
        def forward(self, batch):
            return Outputs(super().forward(batch), {"odd": torch.tensor(-float(len(batch.ids)))})

    plain, usual = fit(Net, train, val, epochs=6, patience=2)
    logged, history = fit(Logged, train, val, epochs=6, patience=2)
    assert parameters(plain).equal(parameters(logged))
    assert (plain.best_epoch, plain.validation_loss) == (logged.best_epoch, logged.validation_loss)
    assert all({k: v for k, v in history[e].items() if "odd" not in k} == usual[e] for e in usual)
    assert np.array_equal(plain.predict(val.without_targets()).risk, logged.predict(val.without_targets()).risk)


def test_a_prediction_does_not_look_at_the_losses():
    """At validation they are checked; a predictor afterwards takes whatever comes."""
    module = WithLosses(per_case)
    predictor, _ = fit(module)
    module.made = lambda module, batch: {"loss": torch.tensor(math.nan)}
    assert np.isfinite(predictor.predict(cohort(5).without_targets()).risk).all()


def test_a_module_may_compute_a_loss_in_training_only():
    def made(module, batch):
        return per_case(module, batch) if module.training else {}

    _, history = fit(WithLosses(made))
    assert "train/guess" in history[1]
    assert "val/guess" not in history[1]


def test_cox_takes_auxiliary_losses_as_means_over_cases():
    train = cohort(24)
    _, history = fit(WithLosses(lambda module, batch: {"one": torch.ones(len(batch.ids))}, n_outputs=1), train,
                     task=COX, loss="cox")  # fmt: skip
    assert history[1]["train/one"] == 1.0


WRONG = {
    "'loss' has the name of a quantity of the history": {"loss": 1.0},
    "'c_index' has the name of a quantity": {"c_index": 1.0},
    "'Guess' repeats the name 'guess'": {"guess": 1.0, "Guess": 1.0},
    "'a/b' needs a name of letters": {"a/b": 1.0},
    "'guess' has shape (2,), expected a tensor of shape (8,)": {"guess": torch.ones(2)},
    "'guess' has shape (8, 1), expected": {"guess": torch.ones(8, 1)},
    "'guess' is nan": {"guess": math.nan},
    "'guess' is inf": {"guess": torch.full((8,), math.inf)},
}


@pytest.mark.parametrize(("said", "losses"), WRONG.items(), ids=WRONG)
def test_a_wrong_loss_is_one_line_that_names_module_and_loss(said, losses):
    def made(module, batch):
        return {name: x if isinstance(x, torch.Tensor) else torch.tensor(x) for name, x in losses.items()}

    with pytest.raises(FusionBenchError) as caught:
        fit(WithLosses(made), cohort(16))
    assert str(caught.value).startswith("WithLosses: ")
    assert f"auxiliary loss {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_no_tensor_is_refused():
    with pytest.raises(PluginError, match="auxiliary loss 'guess' has float, expected a tensor"):
        fit(WithLosses(lambda module, batch: {"guess": 1.0}))


def test_the_loss_that_was_not_finite_first_is_named():
    """Afterwards the weights are not, and everything with them."""

    def made(module, batch):
        sound = module.extra(omic(batch))[:, 0].square()
        return {"sound": sound, "log": sound.mean().log() if len(batch.ids) == 8 else (0 * sound).log()}

    with pytest.raises(FusionBenchError, match=r"training, epoch 1, auxiliary loss 'log' is -inf$"):
        fit(WithLosses(made), cohort(20))


def test_a_validation_loss_that_is_not_finite_fails_too():
    def made(module, batch):
        return {"odd": torch.tensor(1.0 if module.training else math.nan)}

    with pytest.raises(FusionBenchError, match="validation after epoch 1, auxiliary loss 'odd' is nan"):
        fit(WithLosses(made))


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"gess": 2.0}, "a weight for auxiliary loss 'gess', which never came in training, epoch 1; losses .*: guess"),
        ({"guess": math.nan}, "the weight of auxiliary loss 'guess' is nan, expected a number"),
    ],
)
def test_a_weight_for_a_loss_that_never_comes_is_refused(weights, said):
    with pytest.raises(PluginError, match=f"WithLosses: .*{said}"):
        fit(WithLosses(per_case, weights))


# targets


class Asks(nn.Module):
    """Keeps what it finds in each batch; whoever asks."""

    def __init__(self, declared):
        super().__init__()
        self.inner, self.reads_targets, self.found = Linear(), declared, []

    def forward(self, batch):
        self.found.append((self.training, batch.targets is not None))
        return self.inner(batch)

    def attention(self, batch):
        self.found.append((self.training, batch.targets is not None))
        return {}

    def attention_maps(self, batch):
        return self.attention(batch)

    def train(self, mode=True):
        """Stays in training mode, as a module that hopes for targets would."""
        return super().train()


@pytest.mark.parametrize("declared", [False, True])
def test_targets_are_there_in_training_and_for_a_module_that_declares_it(declared):
    """Two batches a epoch are trained on; the other calls are validation and predictions, of cases with targets."""
    module, cases = Asks(declared), cohort(14, 1)
    predictor, _ = fit(module, cohort(16), cases, epochs=2, batch_size=8)
    assert [given for _, given in module.found].count(True) == (4 if declared else 0)
    module.found.clear()
    predictor.predict(cases)
    predictor.predict_validation(cases)
    predictor.predict_steps(cases)
    predictor.attention(cases)
    predictor.attention_maps(cases)
    assert module.found
    assert not any(given for _, given in module.found)


def test_what_a_module_declares_counts_before_training_and_its_targets_are_a_copy():
    """One that takes its declaration back is on record all the same; one that writes into targets changes no loss."""

    class Meddling(Linear):
        reads_targets = True

        def forward(self, batch):
            if batch.targets is not None:
                batch.targets.event.fill_(False)
                type(self).seen = True
            self.reads_targets = False
            return super().forward(batch)

    meddling, history = fit(Meddling)
    plain, usual = fit(Linear)
    assert Meddling.seen
    assert meddling.reads_targets
    assert not plain.reads_targets
    assert history == usual

    class Late(Asks):
        def forward(self, batch):
            self.reads_targets = True
            return super().forward(batch)

    late = Late(declared=False)
    assert not fit(late)[0].reads_targets
    assert not any(given for _, given in late.found)


def test_a_loss_of_targets_is_logged_for_training_alone():
    class Supervised(WithLosses):
        reads_targets = True

    def made(module, batch):
        if batch.targets is None:
            return {}
        return {"event": (module.extra(omic(batch))[:, 0] - batch.targets.event.float()).square()}

    _, history = fit(Supervised(made))
    assert "train/event" in history[1]
    assert "val/event" not in history[1]


# steps


class Stepwise(nn.Module):
    """A linear layer a modality, one added to the next."""

    def __init__(self, weights=None, n_outputs=4):
        super().__init__()
        self.layers = nn.ModuleDict({"wsi": nn.Linear(5, n_outputs), "omic": nn.Linear(3, n_outputs)})
        self.weights = weights or {}

    def forward(self, batch):
        parts = [
            layer(batch.bags[name].values.sum(dim=1)) * batch.bags[name].present[:, None]
            for name, layer in self.layers.items()
        ]
        logits = torch.stack(parts, dim=1).cumsum(dim=1)
        taken = torch.stack([batch.bags[name].present for name in self.layers], dim=1)
        # What stands at a step that was not taken is not read.
        steps = Steps(tuple(self.layers), logits.masked_fill(~taken[..., None], math.nan), taken)
        return Outputs(logits[:, -1], weights=self.weights, step_logits=steps)


def test_steps_are_trained_by_the_mean_over_the_steps_taken():
    train, module = cohort(15), Stepwise({"steps": 0.5})
    batch = collate(list(train), SPECS, train.targets)
    out, t = module(batch), batch.targets
    nll = survival.discrete_hazard_nll
    steps = out.step_logits
    of = [nll(steps.logits[r, i], t.time_bin[r], t.event[r]) for i in (0, 1) for r in [steps.taken[:, i]]]
    mean = torch.cat(of).mean()
    (nll(out.logits, t.time_bin, t.event).mean() + 0.5 * mean).backward()
    expected = torch.cat([(p - 0.1 * p.grad).detach().flatten() for p in module.parameters()])
    module.zero_grad()
    recipe = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.0, "schedule": "constant"}
    predictor, history = fit(module, train, epochs=1, batch_size=15, **recipe)
    torch.testing.assert_close(parameters(predictor), expected, rtol=1e-5, atol=1e-6)
    assert history[1]["train/steps"] == pytest.approx(mean.item(), rel=1e-5)
    assert history[1]["val/steps"] > 0


def test_steps_take_the_cox_loss():
    _, history = fit(Stepwise(n_outputs=1), task=COX, loss="cox")
    assert history[1]["train/steps"] > 0


def test_a_case_is_predicted_as_after_its_last_step():
    cases = cohort(14, 1).without_targets()
    predictor, _ = fit(Stepwise())
    risk = dict(zip(cases.ids, predictor.predict(cases).risk, strict=True))
    first, last = predictor.predict_steps(cases)
    assert (first.name, last.name) == ("wsi", "omic")
    has = [set(case.refs) for case in cases.cases]
    assert first.rows == tuple(i for i, own in enumerate(has) if "wsi" in own)
    assert last.rows == tuple(range(14))
    assert dict(zip(last.prediction.ids, last.prediction.risk, strict=True)) == pytest.approx(risk)
    alone = {cases.ids[i] for i in first.rows if has[i] == {"wsi"}}
    of_first = dict(zip(first.prediction.ids, first.prediction.risk, strict=True))
    assert alone
    assert {i: of_first[i] for i in alone} == pytest.approx({i: risk[i] for i in alone})
    assert predictor.predict_steps(cases.take([])) == ()


def test_a_module_without_steps_is_asked_once():
    module = Asks(declared=False)
    predictor, _ = fit(module)
    module.found.clear()
    assert predictor.predict_steps(cohort(5)) == ()
    assert not module.found


@pytest.mark.parametrize(
    ("names", "shape", "dtype", "said"),
    [
        (("a", "a"), (2,), torch.bool, r"steps are named \('a', 'a'\)"),
        (("a:b", "c"), (2,), torch.bool, "each needs a name of its own"),
        (("a", "b"), (3,), torch.bool, r"the mask of steps taken is of shape \(8, 3\)"),
        (("a", "b"), (2,), torch.int64, "the mask of steps taken has type torch.int64, expected bool"),
        (("a", "b", "c"), (2,), torch.bool, r"step_logits of shape \(8, 2, 4\), expected .* \(8, 3, 4\)"),
    ],
)
def test_steps_of_the_wrong_shape_or_name_are_refused(names, shape, dtype, said):
    class Wrong(Linear):
        def forward(self, batch):
            logits, n = super().forward(batch), len(batch.ids)
            taken = torch.ones((n, *shape), dtype=dtype)
            return Outputs(logits, step_logits=Steps(names, logits[:, None].expand(n, 2, TASK.n_outputs), taken))

    with pytest.raises(PluginError, match=f"Wrong: .*{said}"):
        fit(Wrong, cohort(8))


def test_other_steps_than_before_are_refused():
    class Changing(Stepwise):
        def forward(self, batch):
            out = super().forward(batch)
            names = ("wsi", "omic") if self.training else ("wsi", f"omic{len(batch.ids)}")
            return Outputs(out.logits, step_logits=Steps(names, out.step_logits.logits, out.step_logits.taken))

    with pytest.raises(PluginError, match=r"and .* in a batch before"):
        fit(Changing)[0].predict_steps(cohort(5))


def test_outputs_may_be_compiled():
    """torch can compile a module that returns Outputs; the eager backend needs no compiler here."""
    train = cohort(8)
    batch, module = collate(list(train), SPECS), Stepwise()
    made = torch.compile(module, backend="eager")(batch)
    torch.testing.assert_close(made.logits, module(batch).logits)
    assert made.step_logits.names == ("wsi", "omic")


def test_an_embedding_comes_in_the_order_of_the_cases():
    class Embedding(Net):
        def forward(self, batch):
            # of a case alone: how many instances it has
            count = batch.bags["wsi"].mask.sum(dim=1, keepdim=True)
            return Outputs(super().forward(batch), embedding=count.float())

    cases = cohort(14, 1).without_targets()
    predictor, _ = fit(Embedding)
    expected = [[len(case.bags["wsi"].values) if "wsi" in case.bags else 0] for case in cases]
    assert predictor.embedding(cases).tolist() == expected
    assert fit(Net)[0].embedding(cases) is None


def test_an_embedding_of_another_shape_is_refused():
    class Wrong(Linear):
        def forward(self, batch):
            return Outputs(super().forward(batch), embedding=torch.zeros(3, 2))

    with pytest.raises(PluginError, match=r"Wrong: embedding has shape \(3, 2\), expected \(8, feature\)"):
        fit(Wrong, cohort(8))


def test_the_examples_of_the_documents_are_trained():
    text = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
    made = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "Stepwise" in code:
            exec(code, made)
    predictor, history = fit(made["MyStepwise"](None).build(TASK, SPECS))
    assert {"train/size", "train/event", "train/steps", "val/size", "val/steps"} <= set(history[1])
    assert [step.name for step in predictor.predict_steps(cohort(5))] == ["omic", "wsi"]
    published = made["MyPublished"]
    assert published(published.Options()).recipe() == {}
    own = published(published.Options(recipe="own"))
    fit(own.build(TASK, SPECS), **own.recipe())
    (clusters,) = made["MyPrototypes"](None).preparations(TASK, SPECS)
    bags = [case for case in cohort(20) if "wsi" in case.bags]
    state = clusters.prepare(bags, PreparationContext(3, torch.device("cpu")))
    tokens = clusters.tokens("wsi", bags[0].bags["wsi"], state)
    assert tokens.shape == (16, 1 + SPECS["wsi"].dim)
    assert tokens[:, 0].sum().item() == pytest.approx(1, abs=1e-3)
    staged = made["MyStaged"](made["MyStaged"].Options(recipe="own"))
    history = fit(staged.build(TASK, SPECS), epochs=5, stage=staged.stages())[1]
    assert [values["train/stage"] for values in history.values()] == [1, 1, 1, 1, 2]
    assert [member.modalities for member in staged.members(TASK, SPECS)] == [("omic",), ("wsi",)]


def test_what_is_neither_logits_nor_outputs_is_refused():
    class Pair(Linear):
        def forward(self, batch):
            return super().forward(batch), {}

    with pytest.raises(PluginError, match=r"Pair returned tuple, expected logits, a tensor, or fusionbench.Outputs"):
        fit(Pair)


@pytest.mark.parametrize("weight", ["high", None, torch.tensor(0.5)])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(PluginError, match=r"WithLosses: the weight of auxiliary loss 'guess' is .*, expected a number"):
        fit(WithLosses(per_case, {"guess": weight}))
