"""Stages of a training: what trains, what stays as it is, at which rates, and which epochs choose."""

import re

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from fusionbench import PluginError, PluginRef, Stage
from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe, overlay
from fusionbench.core.types import Member
from fusionbench.execution.fit_context import Context, Fit
from fusionbench.execution.training.loop import train_module
from fusionbench.execution.training.stages import Stages
from fusionbench.nn import load_member
from tests.unit.execution.test_training import CPU, SPECS, TASK, cohort, fit


class Parts(nn.Module):
    """A trunk with running statistics and dropout, and a head; keeps what the trunk made of each training batch."""

    def __init__(self, width=4):
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Dropout(0.5))
        self.head = nn.Linear(width, TASK.n_outputs)
        self.zeros = []

    def forward(self, batch):
        made = self.trunk(batch.bags["omic"].values[:, 0])
        if self.training:
            self.zeros.append(int((made == 0).sum()))
        return self.head(made)


def staged(*stages, before=0, module=None, **recipe):
    """The state after each epoch, the module, and what was logged."""
    torch.manual_seed(0)
    module, states, logged = module or Parts(), [], {}
    states.append({k: v.clone() for k, v in module.state_dict().items()})

    def log(epoch, values):
        logged[epoch] = values
        states.append({k: v.clone() for k, v in module.state_dict().items()})

    keys = {"epochs": 4, "batch_size": 8, "lr": 0.01, "patience": None, "stage": stages, "schedule": "constant"}
    settings = TrainRecipe.model_validate(keys | recipe)
    train, val = cohort(32, bags=False), cohort(14, 1, bags=False)
    predictor = train_module(module, TASK, SPECS, train, val, settings, seed=0, device=CPU, log=log, before=before)
    return predictor, states, logged


def changed(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


TRUNK = {"trunk.0.weight", "trunk.0.bias", "trunk.1.weight", "trunk.1.bias"}
STATISTICS = {"trunk.1.running_mean", "trunk.1.running_var", "trunk.1.num_batches_tracked"}
HEAD = {"head.weight", "head.bias"}
HAS = "trunk.0.weight, trunk.0.bias, trunk.1.weight, trunk.1.bias, head.weight, head.bias"
FIRST = Stage(name="head", epochs=2, train=("head.*",))


@pytest.mark.parametrize("first", [FIRST, Stage(name="head", epochs=2, frozen=("trunk.*",))])
@pytest.mark.parametrize(
    "recipe",
    [
        {"weight_decay": 0.1, "l1": 0.1},
        {"optimizer": "adam", "weight_decay": 0.1, "lookahead": 2},
        {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1},
    ],
)
def test_what_is_frozen_stays_bit_for_bit_and_trains_in_its_stage(first, recipe):
    predictor, states, _ = staged(first, Stage(name="all"), **recipe)
    assert changed(states[0], states[1]) == changed(states[1], states[2]) == HEAD
    assert changed(states[2], states[3]) == TRUNK | STATISTICS | HEAD
    assert all(p.requires_grad for p in predictor.module.parameters())


@pytest.mark.parametrize("recipe", [{"optimizer": "sgd", "momentum": 0.9}, {"lookahead": 3}, {"l1": 0.1}])
def test_what_has_trained_and_is_frozen_afterwards_stays_too(recipe):
    _, states, _ = staged(Stage(name="all", epochs=2), Stage(name="head", train=("head.*",)), **recipe)
    assert changed(states[1], states[2]) == TRUNK | STATISTICS | HEAD
    assert changed(states[2], states[4]) == HEAD


def test_frozen_parts_compute_as_in_evaluation_unless_their_dropout_goes_on():
    def zeros(first):
        module = Parts()
        staged(first, Stage(name="all"), module=module)
        return [sum(module.zeros[i : i + 8]) for i in (0, 8)]  # of the four batches of two epochs each

    off, on = zeros(FIRST)
    assert off == 0 < on
    kept_on, _ = zeros(FIRST.model_copy(update={"frozen_dropout": ("trunk.*",)}))
    assert kept_on > 0
    _, states, _ = staged(FIRST.model_copy(update={"frozen_dropout": ("trunk.*",)}), Stage(name="all"))
    assert changed(states[0], states[2]) == HEAD, "running statistics stand still all the same"


def test_dropout_within_a_layer_with_weights_goes_on_too():
    module = nn.Sequential(nn.MultiheadAttention(4, 2, dropout=0.5), nn.BatchNorm1d(4), nn.Linear(4, 1))
    stage = Stage(name="head", epochs=1, frozen=["0.*", "1.*"], frozen_dropout=["0.*", "1.*"])
    Stages(module, TrainRecipe(epochs=2, stage=(stage, Stage(name="all"))), 1).begin(1)
    assert [part.training for part in module] == [True, False, True]


def test_one_optimizer_goes_on_and_what_begins_to_train_begins_without_state():
    """Adam's first step is the rate in every parameter; so it is for the trunk in its first step, not for the head."""
    adam = {"optimizer": "adam", "weight_decay": 0.0, "batch_size": 32}
    _, states, _ = staged(FIRST, Stage(name="all"), **adam)
    moved = {k: (states[3][k] - states[2][k]).abs() for k in ("trunk.0.weight", "head.weight")}
    assert torch.allclose(moved["trunk.0.weight"], torch.tensor(0.01), rtol=1e-2)
    assert not torch.allclose(moved["head.weight"], torch.tensor(0.01), rtol=1e-2)
    _, plain, _ = staged(Stage(name="as one", epochs=2), Stage(name="is another"), **adam)
    _, whole, _ = staged(**adam)
    assert not changed(plain[-1], whole[-1]), "two stages that freeze nothing are one training"


def test_rates_are_the_schedules_times_the_stages():
    stages = (Stage(name="slow", epochs=2, lr_factor=0.1), Stage(name="rising", warmup=2))
    logged = staged(*stages, batch_size=16, schedule="linear")[2]
    plain = staged(batch_size=16, schedule="linear")[2]
    # Two steps an epoch, of which the last is logged; four steps of warm-up, counted from 0.
    shares = [logged[e]["lr"] / plain[e]["lr"] for e in range(1, 5)]
    assert shares == pytest.approx([0.1, 0.1, 0.25, 0.75])
    grouped = {"group": [{"parameters": ["head.*"], "lr": 0.0}]}
    _, states, _ = staged(*stages, **grouped)
    assert "head.weight" not in changed(states[0], states[4])


def test_the_number_of_the_stage_is_logged_and_epochs_are_numbered_on():
    logged = staged(FIRST, Stage(name="all"), before=7)[2]
    assert {epoch: values["train/stage"] for epoch, values in logged.items()} == {8: 1, 9: 1, 10: 2, 11: 2}
    assert "train/stage" not in staged()[2][1]


def test_weights_are_kept_and_patience_counts_from_the_last_stage_on():
    # The rate of the first stage is lost in the weights, that of the second one spoils them.
    stages = (Stage(name="good", epochs=4, lr_factor=1e-3), Stage(name="bad", lr_factor=3000.0))
    predictor, states, logged = staged(*stages, epochs=10, patience=1)
    losses = {epoch: values["val/loss"] for epoch, values in logged.items()}
    assert len(losses) < 10
    assert min(losses, key=losses.__getitem__) <= 4
    last = {epoch: loss for epoch, loss in losses.items() if epoch > 4}
    assert predictor.best_epoch == min(last, key=last.__getitem__)
    assert predictor.first_epoch == 5
    assert not changed(states[predictor.best_epoch], predictor.module.state_dict())
    # A recipe that is cut short, as for a profile's first run, ends in the stage that it has reached.
    short = TrainRecipe(epochs=4, stage=(FIRST, Stage(name="all"))).model_copy(update={"epochs": 1})
    made = train_module(Parts(), TASK, SPECS, cohort(32), cohort(14, 1), short, seed=0, device=CPU, log=lambda *_: None)
    assert (made.first_epoch, made.best_epoch) == (1, 1)


def test_a_second_training_of_a_cell_is_numbered_on():
    recipe, told = TrainRecipe(epochs=2), []
    context = Context(TASK, SPECS, 0, CPU, recipe, {}, lambda *numbers: told.append(numbers))
    for _ in range(2):
        context.train(Parts(), cohort(32), cohort(14, 1))
    epochs = [epoch for epoch, split, name, _ in context.history if (split, name) == ("val", "loss")]
    assert epochs == [1, 2, 3, 4]
    assert told == [(1, 2), (2, 2), (3, 4), (4, 4)]
    assert [p.first_epoch for p in context.trained] == [1, 3]
    assert context.trained[1].best_epoch in (3, 4)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (
            {"train": ("tail.*",)},
            f"train.stage 'one': 'tail.*' names no parameter of Parts; it has {HAS}",
        ),
        (
            {"frozen": ("nose",)},
            f"train.stage 'one': 'nose' names no parameter of Parts; it has {HAS}",
        ),
        ({"frozen": ("*",)}, "train.stage 'one': its frozen parameters are all that there are: it trains nothing"),
    ],
)
def test_a_stage_that_names_no_parameter_is_refused_before_the_first_step(first, said):
    module = Parts()
    with pytest.raises(FusionBenchError) as refused:
        staged(Stage(name="one", epochs=2, **first), Stage(name="two"), module=module)
    assert str(refused.value) == said
    assert not module.zeros


def test_of_many_parameters_the_message_has_the_parts():
    module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(4)))
    with pytest.raises(FusionBenchError, match=re.escape("it has 0.* (2), 1.* (2), 2.* (2), 3.* (2)")):
        Stages(module, TrainRecipe(stage=(Stage(name="one", train=("x",)),)), 1)


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ([{"name": "a", "epochs": 9}], "the stages share out epochs = 4, and theirs are: a 9"),
        ([{"name": "a", "epochs": 2}, {"name": "b", "epochs": 1}], "share out epochs = 4, and theirs are: a 2, b 1"),
        ([{"name": "a", "epochs": 4}, {"name": "b"}], "share out epochs = 4, and theirs are: a 4, b the rest"),
        ([{"name": "a"}, {"name": "b"}], "stage 'a' needs epochs: only the last stage may leave them out"),
        ([{"name": "a", "epochs": 1}, {"name": "a"}], "each stage needs a name of its own; they are a, a"),
        ([{"name": "a", "warmup": 5}], "stage 'a': warmup = 5 is longer than its 4 epochs"),
        ([{"name": "a", "train": []}], "at least 1 item"),
        ([{"name": "a", "lr": 1}], "Extra inputs"),
    ],
)
def test_stages_that_cannot_be_are_refused_with_the_recipe(stages, said):
    with pytest.raises(ValidationError, match=re.escape(said)):
        TrainRecipe.model_validate({"epochs": 4, "stage": stages})


def test_a_recipe_without_stages_is_written_as_before_there_were_any():
    assert "stage" not in TrainRecipe().model_dump()
    recipe = overlay(TrainRecipe(), {"stage": [FIRST, {"name": "all"}]})
    assert TrainRecipe.model_validate(recipe.model_dump(mode="json")) == recipe


def member_of(predictor):
    """A context with one member, and that member."""
    member = Member(PluginRef("single"), ("x",))
    context = Context(TASK, SPECS, 0, CPU, TrainRecipe(), {member: Fit(predictor, None, None, 0.0)})
    return context, member


def test_a_members_weights_are_handed_over_whole_or_in_part():
    predictor, _ = fit(Parts(), epochs=1)
    context, member = member_of(predictor)
    whole, part = Parts(), Parts().trunk
    load_member(whole, context, member)
    load_member(part, context, member, "trunk")
    assert not changed(predictor.module.state_dict(), whole.state_dict())
    assert not changed(predictor.module.trunk.state_dict(), part.state_dict())


class NoNetwork:
    """A predictor of arrays."""

    def state(self):
        return {"coefficients": torch.zeros(2).numpy()}


@pytest.mark.parametrize(
    ("module", "part", "said"),
    [
        (Parts(5), "", "do not fit Parts: 'trunk.0.weight' has shape (5, 3), in the member (4, 3); 6 more differ"),
        (nn.Linear(4, 3), "head", "do not fit Linear: 'weight' has shape (3, 4), in the member (4, 4); 1 more differ"),
        (nn.Linear(4, 4, bias=False), "head", "do not fit Linear: 'bias' is in the member alone"),
        (nn.Bilinear(1, 1, 4), "encode", "cannot be loaded: the member has no part 'encode'"),
    ],
)
def test_weights_that_do_not_fit_are_one_clear_line(module, part, said):
    context, member = member_of(fit(Parts(), epochs=1)[0])
    with pytest.raises(PluginError) as refused:
        load_member(module, context, member, part)
    assert str(refused.value) == f"the weights of member single on x {said}"


def test_a_member_that_is_no_network_has_no_weights_to_hand_over():
    context, member = member_of(NoNetwork())
    with pytest.raises(PluginError, match="member single on x cannot be loaded: the member is no torch network"):
        load_member(Parts(), context, member)
    with pytest.raises(PluginError, match="was not declared"):
        load_member(Parts(), context, Member(member.model, ("y",)))
