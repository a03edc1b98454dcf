"""Optimisers, parameter groups, schedules and L1 of a recipe, each against the formula in plain words."""

import math

import pytest
import torch
from torch import nn

from fusionbench.core.errors import FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.execution.training.optimizers import (
    Lookahead,
    add_l1,
    matching,
    optimizer,
    parameter_groups,
    scheduler,
)
from tests.unit.execution.test_training import Net, fit, parameters


class Two(nn.Module):
    """A layer and factors."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.factors = nn.Linear(2, 3), nn.ParameterList([nn.Parameter(torch.ones(2, 2))])


def recipe(**keys):
    return TrainRecipe.model_validate({"schedule": "constant", "lr": 0.1, "weight_decay": 0.0} | keys)


def stepped(module, settings, steps=1):
    """Parameters by name after some steps with gradients of their own values, by the recipe's optimizer."""
    chosen = optimizer(parameter_groups(module, settings), settings)
    ahead = Lookahead(list(module.parameters()), settings)
    for step in range(steps):
        for parameter in module.parameters():
            parameter.grad = torch.sin(parameter.detach() + step)
        chosen.step()
        ahead.step()
    return {name: p.detach().clone() for name, p in module.named_parameters()}


def test_groups_have_a_rate_and_a_decay_of_their_own():
    groups = [{"parameters": ["factors.*"], "lr": 0.5, "weight_decay": 0.2}, {"parameters": ["*.bias"], "lr": 0.0}]
    start = dict(Two().named_parameters())
    made = stepped(Two(), recipe(optimizer="sgd", weight_decay=0.1, group=groups))
    for name, lr, decay in (("layer.weight", 0.1, 0.1), ("layer.bias", 0.0, 0.1), ("factors.0", 0.5, 0.2)):
        p = start[name].detach()
        torch.testing.assert_close(made[name], p - lr * (p.sin() + decay * p))


def test_of_two_groups_the_first_counts_and_the_rate_that_is_logged_is_the_recipes():
    groups = [{"parameters": ["layer.weight"], "lr": 1.0}, {"parameters": ["layer.*"], "lr": 2.0}]
    made = parameter_groups(Two(), recipe(group=groups))
    assert [(len(g["params"]), g["lr"]) for g in made] == [(1, 0.1), (1, 1.0), (1, 2.0)]


def test_biases_may_be_left_out_of_the_decay():
    groups = [{"parameters": ["layer.*"], "weight_decay": 0.3}]
    settings = recipe(weight_decay=0.1, decay_on="matrices")
    decays = {p.ndim: g["weight_decay"] for g in parameter_groups(Two(), settings) for p in g["params"]}
    assert decays == {1: 0.0, 2: 0.1}
    asked = parameter_groups(Two(), settings.model_copy(update={"group": recipe(group=groups).group}))
    assert sorted(g["weight_decay"] for g in asked) == [0.1, 0.3]


def test_a_plain_recipe_has_one_group_in_the_order_of_the_module():
    module = Two()
    assert [id(p) for p in parameter_groups(module, recipe())] == [id(p) for p in module.parameters()]


@pytest.mark.parametrize("start", ["initial", "first-sync"])
def test_lookahead_around_decoupled_radam_follows_its_formula(start):
    """Liu et al. 2020, Loshchilov and Hutter 2019, Zhang et al. 2019; 13 steps, some rectified and some not."""
    b1, b2, lr, decay, every, rate = 0.9, 0.99, 0.1, 0.05, 4, 0.7
    ahead = {"lookahead": every, "lookahead_rate": rate, "lookahead_start": start}
    settings = recipe(optimizer="radamw", betas=(b1, b2), weight_decay=decay, **ahead)
    expected = {}
    for name, parameter in Two().named_parameters():
        p = parameter.detach().clone()
        slow, m, v = (p.clone() if start == "initial" else None), 0, 0
        for t in range(1, 14):
            g = torch.sin(p + t - 1)
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            p = p * (1 - lr * decay)
            most = 2 / (1 - b2) - 1
            rho = most - 2 * t * b2**t / (1 - b2**t)
            if rho > 5:
                r = math.sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho))
                p = p - lr * r * math.sqrt(1 - b2**t) / (1 - b1**t) * m / (v.sqrt() + 1e-8)
            else:
                p = p - lr / (1 - b1**t) * m
            if t % every == 0:
                slow = p.clone() if slow is None else slow + rate * (p - slow)
                p = slow.clone()
        expected[name] = p
    torch.testing.assert_close(stepped(Two(), settings, 13), expected, rtol=1e-5, atol=1e-6)


def test_radam_without_w_adds_the_decay_to_the_gradient():
    made = [stepped(Two(), recipe(optimizer=name, weight_decay=0.5))["layer.weight"] for name in ("radam", "radamw")]
    assert not torch.equal(*made)


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "radamw"])
def test_betas_reach_the_optimizer(name):
    chosen = optimizer(list(Two().parameters()), recipe(optimizer=name, betas=(0.5, 0.9)))
    assert chosen.defaults["betas"] == (0.5, 0.9)


def rates(settings, steps):
    chosen = optimizer(list(Two().parameters()), settings)
    plan, seen = scheduler(chosen, settings, steps), []
    for _ in range(steps):
        seen.append(chosen.param_groups[0]["lr"] / settings.lr)
        chosen.step()
        plan.step()
    return seen


def test_warm_up_rises_and_what_follows_falls_to_zero():
    """Five steps an epoch; half an epoch is rounded to two steps."""
    warm = rates(recipe(schedule="cosine", warmup=1, epochs=4), 20)
    assert warm[:5] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert warm[5:] == pytest.approx([(1 + math.cos(math.pi * t / 15)) / 2 for t in range(15)])
    held = rates(recipe(schedule="linear", warmup=0.4, hold=2, epochs=4), 20)
    assert held == pytest.approx([0, 0.5, *[1.0] * 10, *(1 - t / 8 for t in range(8))])
    assert rates(recipe(warmup=1, epochs=2), 4) == pytest.approx([0, 0.5, 1, 1])


def test_every_group_follows_the_schedule():
    groups = [{"parameters": ["factors.*"], "lr": 1.0}]
    for schedule in ("cosine", "onecycle", "linear"):
        settings = recipe(schedule=schedule, group=groups)
        chosen = optimizer(parameter_groups(Two(), settings), settings)
        plan = scheduler(chosen, settings, 10)
        for _ in range(4):
            chosen.step()
            plan.step()
        own, other = (group["lr"] for group in chosen.param_groups)
        assert other == pytest.approx(10 * own), schedule


def test_l1_reaches_the_parameters_that_are_named():
    module = Two()
    named = dict(module.named_parameters())
    reached = matching(module, ("*.weight", "factors.*"), "l1_on")
    add_l1([named[name] for name in sorted(reached)], 0.5)
    assert named["layer.bias"].grad is None
    torch.testing.assert_close(named["layer.weight"].grad, 0.5 * named["layer.weight"].detach().sign())


def test_l1_of_a_recipe_is_on_its_parameters_alone():
    """One step of SGD: the two trainings differ where L1 is, and nowhere else."""
    usual = {"optimizer": "sgd", "epochs": 1, "batch_size": 30, "schedule": "constant", "weight_decay": 0.0}
    plain, _ = fit(Net, **usual)
    sparse, _ = fit(Net, l1=0.1, l1_on=("omic.*",), **usual)
    other = dict(plain.module.named_parameters())
    moved = {name for name, p in sparse.module.named_parameters() if not torch.equal(p, other[name])}
    assert moved == {"omic.weight", "omic.bias"}


@pytest.mark.parametrize("key", ["group", "l1_on"])
def test_a_name_of_no_parameter_is_told_with_those_that_there_are(key):
    value = [{"parameters": ["factor*"], "lr": 1.0}] if key == "group" else ["factor*"]
    with pytest.raises(FusionBenchError, match=rf"train.{key}: 'factor\*' names no parameter of Net; it has omic"):
        fit(Net, **{key: value})


def test_all_of_it_trains_and_gives_the_same_bits_again():
    settings = {
        "optimizer": "radamw", "betas": (0.5, 0.9), "lookahead": 2, "decay_on": "matrices", "schedule": "linear",
        "warmup": 0.5, "hold": 1, "group": [{"parameters": ["head.*"], "lr": 1e-3}], "l1": 1e-4, "l1_on": ["omic.*"],
    }  # fmt: skip
    one, history = fit(Net, epochs=4, **settings)
    again, _ = fit(Net, epochs=4, **settings)
    assert torch.equal(parameters(one), parameters(again))
    assert history[4]["train/loss"] < history[1]["train/loss"]
