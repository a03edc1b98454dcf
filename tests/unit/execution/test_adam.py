"""The lean Adam is torch's own, bit by bit."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sksurv.metrics import concordance_index_censored
from torch import nn

from fusionbench.execution.training.adam import Adam
from fusionbench.execution.training.optimizers import add_l1
from fusionbench.survival.stats import harrell_c


def nets() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(37, 19), nn.ELU(), nn.Linear(19, 4))
    net.register_module("unused", nn.Linear(3, 3))
    return net, copy.deepcopy(net)


def loss(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    made: torch.Tensor = net[2](net[1](net[0](x))).square().sum()  # type: ignore[index,operator]
    return made


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("cycle", [True, False])
def test_the_same_bits_as_torchs(decoupled: bool, cycle: bool) -> None:
    one, other = nets()
    own = Adam(one.parameters(), 0.01, 0.1, decoupled=decoupled)
    torchs = {True: torch.optim.AdamW, False: torch.optim.Adam}[decoupled](
        other.parameters(), lr=0.01, weight_decay=0.1, fused=True
    )
    schedules = [torch.optim.lr_scheduler.OneCycleLR(o, 0.02, total_steps=6) for o in (own, torchs) if cycle]
    for step in range(6):
        x = torch.randn(8, 37)
        for net, optimizer in ((one, own), (other, torchs)):
            optimizer.zero_grad()
            loss(net, x).backward()
            optimizer.step()
        for schedule in schedules:
            schedule.step()
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)), step


def test_l1_adds_the_sign_also_where_there_is_no_gradient() -> None:
    net, _ = nets()
    x = torch.randn(8, 37)
    loss(net, x).backward()
    before = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
    add_l1(list(net.parameters()), 0.25)
    for parameter, old in zip(net.parameters(), before, strict=True):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, old + 0.25 * parameter.detach().sign())


def test_the_concordance_that_is_logged_is_scikit_survivals() -> None:
    rng = np.random.default_rng(0)
    for n in (5, 40, 90):
        time, event = rng.integers(1, 20, n).astype(float), rng.random(n) < 0.5
        event[0], time[0] = True, 0.5
        risk = np.round(rng.normal(size=n), 1)
        assert harrell_c(time, event, risk) == concordance_index_censored(event, time, risk)[0]
