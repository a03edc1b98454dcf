"""Losses, class weights, survival bins, c-indices and Fourier encodings of reference files against ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sksurv.metrics import concordance_index_censored
from torch import Tensor

from fusionbench.nn import fourier_features
from fusionbench.survival import (
    assign_bins,
    class_weights,
    cox_partial_likelihood,
    cross_entropy_survival,
    discrete_hazard_nll,
    hazards_to_survival,
    risk_from_survival,
    time_bins,
)
from fusionbench.survival.stats.concordance import TIED_RISK, comparable_pairs, concordant_pairs
from tests.golden.replay.compare import Comparison, compare
from tests.golden.replay.reference import Reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLAMP = 1e-7
"""The published lower bound of probabilities, where a file names none."""

_LOSS = re.compile(
    r"(?P<loss>healnet_nll|nll_alternative|nll_per_sample|nll_grad_logits|nll_logits|nll_hazards|nll|ce)"
    r"(?:_a|/alpha)(?P<alpha>\d[\d.]*)"
    r"(?:_eps(?P<eps>\d[\d.e-]*))?"
    r"(?:_(?P<weighting>weighted|unweighted))?"
    r"(?:_(?P<form>mean|sum|persample|grad_logits))?"
)
_BINS = re.compile(r"(?P<case>\w+)/(?P<subset>uncensored|all|censored)/y_disc")
_FOURIER = re.compile(r"fourier(?:\d+d)?/(?:size)?(?P<shape>\d+(?:x\d+)*)_bands(?P<bands>\d+)_maxfreq(?P<most>[\d.]+)")

Compared = Iterator[tuple[str, Comparison]]


def losses(file: Reference) -> Compared:
    """NLL, cross-entropy and Cox losses with their gradients, hazards, survival and risk."""
    given = {**file.arrays, **file.under("input/")}
    logits = _as_published(given)
    time_bin = torch.tensor(given["Y"] if "Y" in given else given["y_disc"])
    event = torch.tensor(given["c"] if "c" in given else given["censorship"]) == 0
    weights = next((torch.tensor(a) for name, a in given.items() if name.endswith("class_weights")), None)
    for name in file.arrays:
        match = _LOSS.fullmatch(name.removeprefix("output/"))
        if match is not None:
            call = _loss(match, time_bin, event, weights)
            per_case = match["loss"] == "nll_per_sample" or match["form"] == "persample"
            gradient = match["loss"] == "nll_grad_logits" or match["form"] == "grad_logits"
            reduce: Callable[[Tensor], Tensor] = torch.sum if match["form"] == "sum" else torch.mean
            value = _gradient(call, reduce, logits) if gradient else call(logits) if per_case else reduce(call(logits))
            # the published cross-entropy is inf or NaN on saturated rows, where ours is finite
            yield name, compare(name, value, file.arrays[name], finite_only=match["loss"] == "ce")
    yield from _from_logits(file, torch.tensor(given["logits"]))
    yield from _cox(file, given)


def _as_published(given: dict[str, NDArray[Any]]) -> Tensor:
    """(case, bin) logits that the published losses saw: they take hazards, of which float32 keeps few digits near 1."""
    logits = torch.tensor(given["logits"])
    if "hazards" in given and logits.dtype == torch.float32:
        hazards = torch.tensor(given["hazards"]).double()
        seen = hazards.logit()
        logits = torch.where(seen.isfinite(), seen, logits.double())
    return logits.requires_grad_()


def _loss(match: re.Match[str], time_bin: Tensor, event: Tensor, weights: Tensor | None) -> Callable[[Tensor], Tensor]:
    chosen: dict[str, Any] = {"alpha": float(match["alpha"]), "clamp": float(match["eps"] or CLAMP)}
    if match["loss"] == "ce":
        return partial(cross_entropy_survival, time_bin=time_bin, event=event, **chosen)
    if match["weighting"] == "weighted" and weights is not None:
        chosen |= {"weights": weights / weights.sum(), "weight_on": "likelihood"}
    return partial(discrete_hazard_nll, time_bin=time_bin, event=event, **chosen)


def _gradient(call: Callable[[Tensor], Tensor], reduce: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    return torch.autograd.grad(reduce(call(at)), at)[0]


def _from_logits(file: Reference, logits: Tensor) -> Compared:
    survival = hazards_to_survival(logits)
    values = {"hazards": logits.sigmoid(), "survival": survival, "S": survival, "risk": risk_from_survival(survival)}
    for name in file.arrays:
        if (short := name.removeprefix("output/").removeprefix("input/")) in values:
            yield name, compare(name, values[short], file.arrays[name])


def _cox(file: Reference, given: dict[str, NDArray[Any]]) -> Compared:
    if "cox_theta" not in given:
        return
    theta = torch.tensor(given["cox_theta"], requires_grad=True)
    event = torch.tensor(given["c"]) == 0
    loss = cox_partial_likelihood(theta, torch.tensor(given["cox_time"]), event, reduction="cases")
    values = {"output/cox": loss, "output/cox_grad_theta": torch.autograd.grad(loss, theta)[0]}
    for name in values.keys() & file.arrays.keys():
        yield name, compare(name, values[name], file.arrays[name])


def weights(file: Reference) -> Compared:
    """Class weights of the training bins, on the published scale: 1 / n_k or its root, as they are."""
    given = {**file.arrays, **file.under("input/")}
    bins = given["y_disc"][given["train_indices"]]
    for name, theirs in file.arrays.items():
        kind = name.removeprefix("output/").removeprefix("weights/")
        if kind == "inverse" or kind == "inverse_root":
            counts = np.bincount(bins, minlength=len(theirs))
            ours = class_weights(bins, len(theirs), kind)  # type: ignore[arg-type]
            # ours are scaled so that sum_k n_k w_k = N
            per_case = np.sum(counts ** {"inverse": 0.0, "inverse_root": 0.5}[kind], where=counts > 0) / counts.sum()
            yield name, compare(name, ours * per_case, theirs)


def bins(file: Reference) -> Compared:
    """Time bins from the quartiles of the uncensored, of all or of the censored rows; mean imputation beside them."""
    for name, theirs in file.arrays.items():
        if (match := _BINS.fullmatch(name)) is None:
            continue
        time, event = file.arrays[f"{match['case']}/survival_months"], file.arrays[f"{match['case']}/censorship"] == 0
        rows = {"uncensored": event, "censored": ~event, "all": np.ones(len(time), dtype=bool)}[match["subset"]]
        edges = time_bins(time, rows, 4)
        # pandas' qcut, which the repository takes for all rows, closes bins on the right
        ours = np.searchsorted(edges, time) if match["subset"] == "all" else assign_bins(time, edges)
        yield name, compare(name, ours, theirs)
    for name, theirs in file.arrays.items():
        if name.endswith("_imputed"):
            raw = file.arrays[name.removesuffix("_imputed") + "_in"]
            yield name, compare(name, np.where(np.isnan(raw), np.nanmean(raw), raw), theirs)


def c_index(file: Reference) -> Compared:
    """Harrell's c with its counts of concordant, discordant and tied pairs."""
    for name in file.arrays:
        part, _, last = name.rpartition("/")
        if last == "result":
            yield name, _concordance(file, name, part)
        elif part == "output":
            yield name, _concordance(file, name, f"input/{last}")


def _concordance(file: Reference, name: str, place: str) -> Comparison:
    event, time, risk = (file.arrays[f"{place}/{part}"] for part in ("event", "time", "risk"))
    pairs = comparable_pairs(time, event)
    credit = concordant_pairs(pairs, risk)[pairs.matrix > 0]
    counts = [np.sum(credit == value) for value in (1.0, 0.0, 0.5)]
    tied_time = concordance_index_censored(event.astype(bool), time, risk, tied_tol=TIED_RISK)[4]
    ours = np.array([credit.mean(), *counts, tied_time], dtype=np.float64)
    if ours.shape != file.arrays[name].shape:
        return compare(name, ours, file.arrays[name])
    apart = [compare(name, mine, theirs) for mine, theirs in zip(ours, file.arrays[name], strict=True)]
    return max(apart, key=lambda c: c.error)  # each on its own scale: hundreds of pairs would hide an error of c


def fourier(file: Reference) -> Compared:
    """Positional encodings of grids."""
    for name, theirs in file.arrays.items():
        if (match := _FOURIER.fullmatch(name)) is None:
            continue
        # one position is at -1, as linspace has it
        axes = [torch.linspace(-1.0, 1.0, int(n), dtype=torch.float64) for n in match["shape"].split("x")]
        where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        yield name, compare(name, fourier_features(where, int(match["bands"]), float(match["most"])), theirs)
