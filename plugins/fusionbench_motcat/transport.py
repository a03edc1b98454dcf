"""Entropic optimal transport of the instances of bags to a few tokens, for whole batches: Sinkhorn in the log domain.

Each case stops by itself, so that its plan is the same alone and among others. No gradient passes.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

MOST, SETTLED, BALANCED = 1000, 1e-6, 1e-9
"""Iterations at most, and the published tolerances of both kinds of plans."""


class Plan(NamedTuple):
    """Of a batch.

    Attributes:
        mass: (case, instance, token), zero where padded.
        iterations: (case,) that each case took.
        error: (case,) what its stopping rule saw last.
    """

    mass: Tensor
    iterations: Tensor
    error: Tensor


@torch.no_grad()
def unbalanced_plan(
    cost: Tensor, mask: Tensor, reg: float, tau: float, regulariser: Literal["entropy", "kl"] = "entropy"
) -> Plan:
    """Plan P of least <P, cost> + reg R(P) + tau KL(P 1 | a) + tau KL(P^T 1 | b), a and b even.

    Args:
        cost: (case, instance, token); what stands at padded instances is not read.
        mask: (case, instance) bool, True = real; every case has one.
        regulariser: R is "entropy", the sum of P (log P - 1) (POT up to 0.9.4), or "kl", KL(P | a b^T) (from 0.9.5).

    Source: Chizat et al. 2018; start, order of the updates and stopping rule of POT 0.9.3.
    """
    log_kernel = _log_kernel(cost, mask, reg)
    log_a = -mask.sum(dim=1, keepdim=True).to(cost.dtype).log()
    log_b = -math.log(cost.shape[2])
    if regulariser == "kl":
        log_kernel = log_kernel + log_a.unsqueeze(2) + log_b
    power = tau / (tau + reg)
    u = torch.zeros_like(cost[:, :, 0]).masked_fill(~mask, -torch.inf)
    v = torch.zeros_like(cost[:, 0])
    iterations, error = _counters(cost)
    running = torch.ones_like(iterations, dtype=torch.bool)
    for _ in range(MOST):
        next_u = (power * (log_a - (log_kernel + v.unsqueeze(1)).logsumexp(dim=2))).masked_fill(~mask, -torch.inf)
        next_v = power * (log_b - (log_kernel + next_u.unsqueeze(2)).logsumexp(dim=1))
        error = torch.where(running, (_change(next_u, u) + _change(next_v, v)) / 2, error)
        u, v = (torch.where(running.unsqueeze(1), new, old) for new, old in ((next_u, u), (next_v, v)))
        iterations += running
        running = running & (error >= SETTLED)
        if not bool(running.any()):
            break
    return Plan(_mass(u, log_kernel, v), iterations, error)


@torch.no_grad()
def balanced_plan(cost: Tensor, mask: Tensor, a: Tensor, b: Tensor, reg: float) -> Plan:
    """Plan P of least <P, cost> + reg (sum of P (log P - 1)) with the marginals a (case, instance) and b (case, token).

    Source: Cuturi 2013; start, order of the updates and stopping rule, at every tenth iteration, of POT 0.9.3.
    """
    log_kernel, log_a, log_b = _log_kernel(cost, mask, reg), a.log().masked_fill(~mask, -torch.inf), b.log()
    even = -mask.sum(dim=1, keepdim=True).to(cost.dtype).log()
    u = even.expand_as(a).masked_fill(~mask, -torch.inf)
    v = torch.zeros_like(b)
    iterations, error = _counters(cost)
    running = torch.ones_like(iterations, dtype=torch.bool)
    for i in range(MOST):
        next_v = log_b - (log_kernel + u.unsqueeze(2)).logsumexp(dim=1)
        next_u = (log_a - (log_kernel + next_v.unsqueeze(1)).logsumexp(dim=2)).masked_fill(~mask, -torch.inf)
        u, v = (torch.where(running.unsqueeze(1), new, old) for new, old in ((next_u, u), (next_v, v)))
        iterations += running
        if i % 10 == 0:
            seen = (_mass(u, log_kernel, v).sum(dim=1) - b).norm(dim=1)
            error = torch.where(running, seen, error)
            running = running & (error >= BALANCED)
            if not bool(running.any()):
                break
    return Plan(_mass(u, log_kernel, v), iterations, error)


def _log_kernel(cost: Tensor, mask: Tensor, reg: float) -> Tensor:
    return (cost / -reg).masked_fill(~mask.unsqueeze(2), -torch.inf)


def _counters(cost: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros(len(cost), dtype=torch.int64, device=cost.device), cost.new_zeros(len(cost))


def _change(new: Tensor, old: Tensor) -> Tensor:
    """(case,) the largest change of scaling factors, given their logarithms, relative to them where above 1."""
    # Divided before they are exponentiated: at a small `reg` the factors themselves are beyond the largest float.
    scale = torch.maximum(new.amax(dim=1), old.amax(dim=1)).clamp(min=0.0).unsqueeze(1)
    return ((new - scale).exp() - (old - scale).exp()).abs().amax(dim=1)


def _mass(u: Tensor, log_kernel: Tensor, v: Tensor) -> Tensor:
    return (u.unsqueeze(2) + log_kernel + v.unsqueeze(1)).exp()
