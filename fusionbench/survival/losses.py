"""Losses of survival models from logits; survival and risk from logits.

`discrete_hazard_nll` and `cross_entropy_survival` take one logit per time bin and give one value per case, for any
batch. `cox_partial_likelihood` takes one output per case and compares the cases of a batch, so it needs at least two
cases, one of them with an observed event.

Probabilities stay logarithms of sigmoids as long as possible: a saturated hazard of 0 or 1 then has a finite loss and a
gradient. Sums over bins are masked sums, since `cumsum` and the backward of `gather` are not deterministic on CUDA.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def discrete_hazard_nll(
    logits: Tensor,
    time_bin: Tensor,
    event: Tensor,
    *,
    alpha: float = 0.0,
    clamp: float | None = None,
    weights: Tensor | None = None,
    weight_on: Literal["all", "likelihood"] = "all",
) -> Tensor:
    """Negative log-likelihood of discrete-time hazards, one value per case.

    With u = -(log S before the bin + log h in it) for events and v = -log S after the bin for censored cases, the value
    is (1 - alpha) w (u + v) + alpha w u. S after bin k is the product of (1 - h) over the bins up to k.

    Args:
        logits: (case, bin); hazard = sigmoid(logit).
        time_bin: (case,) int64, bin of event or censoring.
        event: (case,) bool, True = observed (MCAT and Porpoise write c = 1 - event).
        alpha: weight taken off the censored cases, in [0, 1].
        clamp: lower bound of probabilities; None is exact, 1e-7 is what MCAT and Porpoise publish (no gradient below).
        weights: (bin,) class weights w, or (case, bin), each case's own; None for 1.
        weight_on: "likelihood" leaves w off the alpha term, as HEALNet publishes it (with weights of sum 1).

    Raises:
        ValueError: if a bin lies outside the logits' bins. Checked on the CPU only: on a GPU, a check waits for it.

    Source: Zadeh and Schmid 2021, computed from logits so that saturated hazards stay finite.
    """
    bins, own = _bins(logits, time_bin)
    if clamp is None and alpha == 0.0:
        return _exact_nll(logits, bins, own, event, weights)
    # Clamping the logarithm at log(clamp) is clamping the probability at clamp.
    floor = -math.inf if clamp is None else math.log(clamp)
    log_alive = logsigmoid(-logits)
    before, after = (_sum(log_alive, past).clamp(min=floor) for past in (bins < own, bins <= own))
    hazard = _sum(logsigmoid(logits), bins == own).clamp(min=floor)
    uncensored = torch.where(event, -(before + hazard), 0.0)
    censored = torch.where(event, 0.0, -after)
    weight = 1.0 if weights is None else _own_weight(weights.to(logits), own)
    extra = alpha * uncensored * (weight if weight_on == "all" else 1.0)
    return (1 - alpha) * weight * (uncensored + censored) + extra


def cross_entropy_survival(
    logits: Tensor,
    time_bin: Tensor,
    event: Tensor,
    *,
    alpha: float = 0.0,
    clamp: float | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of survival past the bin, mixed with the uncensored likelihood, one value per case.

    (1 - alpha) L + alpha R, where L is the cross-entropy of S after the bin against "censored", and R the negative
    log-likelihood of the events. Finite for all finite logits: 1 - S is the sum of the probabilities of the bins up to
    the case's own.

    Args:
        logits: (case, bin); hazard = sigmoid(logit).
        time_bin: (case,) int64.
        event: (case,) bool, True = observed.
        alpha: weight of the uncensored likelihood, in [0, 1].
        clamp: lower bound of probabilities; None is exact, 1e-7 gives the published values where those are finite
            (1 - S is not bounded there, so that they are inf or NaN for S = 1; here it is, by half its rounding error).
        weights: (bin,) class weights, or (case, bin), each case's own; None for 1.

    Raises:
        ValueError: if a bin lies outside the logits' bins. Checked on the CPU only: on a GPU, a check waits for it.

    Source: Zadeh and Schmid 2021.
    """
    bins, own = _bins(logits, time_bin)
    log_hazard, log_after = logsigmoid(logits), _log_survival(logits)
    log_before = log_after - logsigmoid(-logits)
    hazard, before, after = (_sum(x, bins == own) for x in (log_hazard, log_before, log_after))
    if clamp is None:
        # 1 - S as the sum of the bins' probabilities h_k S_{k-1}: exact also where S rounds to 1.
        died = (log_hazard + log_before).masked_fill(bins > own, -math.inf).logsumexp(dim=1)
    else:
        survived = after.exp().clamp(min=clamp)
        # 1 - S is 0 where S rounds to 1: bounded by eps / 2, the distance from 1 to the next smaller float.
        after, died = survived.log(), (1 - survived).clamp(min=torch.finfo(survived.dtype).eps / 2).log()
        hazard, before = hazard.clamp(min=math.log(clamp)), (before.exp() + clamp).log()
    entropy = -torch.where(event, died, after)
    # Events are counted in both terms, so alpha moves weight from all cases to those with the event.
    value = (1 - alpha) * entropy + alpha * torch.where(event, -(before + hazard), 0.0)
    return value if weights is None else value * _own_weight(weights.to(logits), own)


def cox_partial_likelihood(
    log_risk: Tensor, time: Tensor, event: Tensor, *, reduction: Literal["events", "cases"] = "events"
) -> Tensor:
    """Negative log partial likelihood of the cases of a batch, a scalar.

    The sum over events i of log(sum over the risk set {j: t_j >= t_i} of exp(log_risk_j)) - log_risk_i.

    Args:
        log_risk: (case,) log relative hazard; higher = earlier event.
        time: (case,) months.
        event: (case,) bool, True = observed.
        reduction: divide by the number of events, or by the number of cases as Porpoise publishes it.

    Raises:
        ValueError: if there are fewer than two cases or no event: the likelihood compares cases. Events are checked
            on the CPU only; on a GPU, a batch without one has the loss NaN, or 0 for reduction "cases".

    Source: Cox 1972, with Breslow's treatment of ties.
    """
    if log_risk.ndim != 1 or len(log_risk) < 2:
        raise ValueError(
            f"the Cox loss compares cases: needs log_risk (case,) of 2 or more, got {tuple(log_risk.shape)}"
        )
    if event.device.type == "cpu" and not bool(event.any()):  # on a GPU, a check would wait for it
        raise ValueError(f"the Cox loss needs an observed event among its {len(event)} cases")
    at_risk = time.unsqueeze(0) >= time.unsqueeze(1)  # (event i, case j); i itself is in its risk set
    # logsumexp, not log of a sum: exp of a large log risk would overflow.
    pool = log_risk.unsqueeze(0).masked_fill(~at_risk, -math.inf).logsumexp(dim=1)
    total = torch.where(event, pool - log_risk, 0.0).sum()
    return total / (event.sum() if reduction == "events" else len(event))


def hazards_to_survival(logits: Tensor) -> Tensor:
    """(case, bin) probability of surviving each bin, from (case, bin) logits of hazards."""
    return _log_survival(logits).exp()


def risk_from_survival(survival: Tensor) -> Tensor:
    """(case,) risk, minus the sum of (case, bin) survival over the bins; higher = earlier event."""
    return -survival.sum(dim=-1)


def _exact_nll(logits: Tensor, bins: Tensor, own: Tensor, event: Tensor, weights: Tensor | None) -> Tensor:
    """`discrete_hazard_nll` with alpha 0 and no clamp: the same bits with a third of the operations.

    An event has 1 - h of the bins before its own and h of its own; a censored case has 1 - h of those up to its own.
    """
    event = event.unsqueeze(1)
    alive = _sum(logsigmoid(-logits), bins < torch.where(event, own, own + 1))
    hazard = _sum(logsigmoid(logits), (bins == own) & event)
    value = -(alive + hazard)
    return value if weights is None else _own_weight(weights.to(logits), own) * value


def _bins(logits: Tensor, time_bin: Tensor) -> tuple[Tensor, Tensor]:
    """All bins (bin,) and each case's own bin (case, 1); comparing them gives masks (case, bin)."""
    n_bins = logits.shape[1]
    if len(time_bin) and time_bin.device.type == "cpu":  # on a GPU, a check would wait for it
        first, last = map(int, time_bin.aminmax())
        if not 0 <= first <= last < n_bins:
            raise ValueError(f"time bins {first}..{last} lie outside the {n_bins} bins of the logits")
    return torch.arange(n_bins, device=logits.device), time_bin.unsqueeze(1)


def _own_weight(weights: Tensor, own: Tensor) -> Tensor:
    """(case,) weight of each case's own bin, from (bin,) or (case, bin) weights."""
    return weights[own.squeeze(1)] if weights.ndim == 1 else weights.gather(1, own).squeeze(1)


def _sum(values: Tensor, where: Tensor) -> Tensor:
    """(case,) sums over the bins where a mask holds; not `gather`, whose backward is not deterministic on CUDA."""
    return torch.where(where, values, 0.0).sum(dim=-1)


def _log_survival(logits: Tensor) -> Tensor:
    """(case, bin) log S after each bin; not `cumsum`, which is not deterministic on CUDA."""
    bins = torch.arange(logits.shape[1], device=logits.device)
    return _sum(logsigmoid(-logits).unsqueeze(1), bins <= bins.unsqueeze(1))
