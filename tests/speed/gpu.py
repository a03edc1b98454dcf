"""What a GPU makes of a step and of an epoch: the card's own ceilings, each step beside them, and an epoch of a cohort
of BLCA's size, 373 cases with 4,000 x 2,048 patches and 2,191 omic columns.

`python -m tests.speed.gpu [--runs 10] [--tokens 4000] [--cases 373] [--device cuda]`; with `--device cpu` and small
numbers it only shows that it runs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from fusionbench_healnet.model import Healnet
from fusionbench_mcat.models import Mcat
from fusionbench_porpoise import Porpoise
from fusionbench_unimodal.abmil import Abmil
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fusionbench import Batch, ModalitySpec, PreparedBag, PreparedCase, Task
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import Case, CaseSet, SurvivalTargets
from fusionbench.data import loader
from fusionbench.execution.training.loop import train_module
from fusionbench.nn import TorchModel
from tests.speed import made, plain

CHANNELS, CASES = 2048, 16
TASK = Task(n_outputs=4, edges=(12.0, 24.0, 48.0))
MODELS: Mapping[str, tuple[type[TorchModel], dict[str, object]]] = {
    "healnet": (Healnet, {}),
    "healnet paper-blca": (Healnet, {"preset": "paper-blca", "token_norm": True}),
    "healnet paper-blca untied": (Healnet, {"preset": "paper-blca", "token_norm": True, "sharing": "none"}),
    "porpoise": (Porpoise, {}),
    "mcat": (Mcat, {}),
    "abmil": (Abmil, {}),
}
COMPILED = ("healnet", "mcat", "abmil")
"""Compiling takes minutes; one of a kind."""
PLAIN: Mapping[str, Callable[[nn.Module, Batch], torch.Tensor]] = {
    "healnet paper-blca": plain.healnet,
    "healnet paper-blca untied": plain.healnet,
    "porpoise": plain.porpoise,
    "mcat": plain.mcat,
}


def timed(work: Callable[[], object], runs: int, device: torch.device) -> float:
    """Median seconds of `work`, the device waited for at both ends; two rounds go before."""
    seconds = []
    for turn in range(runs + 2):
        _wait(device)
        begun = time.perf_counter()
        work()
        _wait(device)
        if turn > 1:
            seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def ceilings(device: torch.device, size: int) -> tuple[float, float, float]:
    """Measured here: FLOP/s of a float32 and a bfloat16 product, bytes/s read and written by a copy."""
    rates = []
    for kind in (torch.float32, torch.bfloat16):
        a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
        rates.append(2 * size**3 / timed(partial(torch.mm, a, b), 10, device))
    x = torch.randn(size * size * 8, device=device)
    y = torch.empty_like(x)
    return rates[0], rates[1], 2 * x.nbytes / timed(partial(y.copy_, x), 10, device)


def specs_of(name: str) -> dict[str, ModalitySpec]:
    of = made.specs(CHANNELS)
    return {"image0": of["image0"]} if name == "abmil" else of


def network(name: str, device: torch.device) -> nn.Module:
    kind, options = MODELS[name]
    torch.manual_seed(0)
    return kind(kind.Options(**options)).build(TASK, specs_of(name)).to(device).train()


def on(device: torch.device, batch: Batch, names: Mapping[str, ModalitySpec]) -> Batch:
    bags = {
        k: type(b)(b.values.to(device), b.mask.to(device), known=b.known) for k, b in batch.bags.items() if k in names
    }
    return Batch(batch.ids, bags)


def steps(device: torch.device, runs: int, tokens: int, found: tuple[float, float, float]) -> None:
    """Forward and backward of 16 cases: plain in float32, ours in float32, with autocast, and compiled."""
    single, half, copied = found
    nan = float("nan")
    print(
        "| model | plain float32, ms | float32, ms | TFLOP/s (of ceiling) | bfloat16, ms | TFLOP/s (of ceiling) "
        "| bag read twice, GB/s (of ceiling) | bfloat16 compiled, ms |"
    )
    print("|---|---|---|---|---|---|---|---|")
    whole = made.batch(made.specs(CHANNELS), CASES, tokens)
    for name in MODELS:
        batch, net = on(device, whole, specs_of(name)), network(name, device)
        with FlopCounterMode(display=False) as counter:
            made.step(net, net, [batch])
        flops, read = counter.get_total_flops(), 2 * batch.bags["image0"].values.nbytes
        formula = PLAIN.get(name)
        slow = timed(partial(made.step, net, partial(formula, net), [batch]), runs, device) if formula else nan
        fast = timed(partial(made.step, net, net, [batch]), runs, device)
        mixed = timed(partial(_autocast, net, net, batch, device), runs, device)
        quick = timed(partial(_autocast, net, _compiled(net), batch, device), runs, device) if name in COMPILED else nan
        print(
            f"| {name} | {1e3 * slow:.2f} | {1e3 * fast:.2f} | {flops / fast / 1e12:.1f} ({flops / fast / single:.0%}) "
            f"| {1e3 * mixed:.2f} | {flops / mixed / 1e12:.1f} ({flops / mixed / half:.0%}) "
            f"| {read / mixed / 1e9:.0f} ({read / mixed / copied:.0%}) | {1e3 * quick:.2f} |",
            flush=True,
        )


def _compiled(net: nn.Module) -> nn.Module:
    torch._dynamo.reset()
    compiled: nn.Module = torch.compile(net, dynamic=True)
    return compiled


def _autocast(net: nn.Module, call: Callable[[Batch], torch.Tensor], batch: Batch, device: torch.device) -> None:
    with torch.autocast(device.type, torch.bfloat16):
        made.step(net, call, [batch])


def cohort(cases: int, tokens: int, device: torch.device) -> CaseSet:
    """Random cases in the machine's memory, drawn on the device, which is quicker."""
    of = made.specs(CHANNELS)
    bags = [torch.randn(tokens, CHANNELS, device=device).cpu() for _ in range(cases)]
    omics = torch.randn(cases, 1, made.OMIC)
    rng = np.random.default_rng(0)
    months = rng.exponential(30.0, cases)
    targets = SurvivalTargets(months, rng.random(cases) < 0.5, np.digitize(months, TASK.edges).astype(np.int64))

    def prepare(case: Case, seen: tuple[str, ...]) -> PreparedCase:
        i = int(case.id)
        values = {"omic": omics[i], "image0": bags[i]}
        return PreparedCase(case.id, {name: PreparedBag(values[name]) for name in seen})

    return CaseSet(tuple(Case(str(i), str(i), None, dict.fromkeys(of, i)) for i in range(cases)), of, targets, prepare)


@contextlib.contextmanager
def room(share: float) -> Iterator[None]:
    """Bags stay on the GPU in up to this share of what is free there."""
    usual, loader.GPU_SHARE = loader.GPU_SHARE, share
    try:
        yield
    finally:
        loader.GPU_SHARE = usual


def epochs(device: torch.device, cases: int, tokens: int) -> None:
    """Seconds of the second and later epochs, a validation of two cases included, and of all before them."""
    data = cohort(cases, tokens, device)
    print(
        "| model | bags | steps | an epoch, s | before the second epoch, s | GPU peak, GiB |\n|---|---|---|---|---|---|"
    )
    plan = [(name, "on the GPU", how) for name in MODELS for how in ("float32", "bfloat16")]
    plan += [("healnet", "on the GPU", "bfloat16 compiled"), ("healnet", "in memory", "bfloat16")]
    for name, where, how in plan:
        train = data.restrict(list(specs_of(name)))
        recipe = TrainRecipe(epochs=4, patience=None, amp=how != "float32", compile="compiled" in how)
        seen = [time.perf_counter()]
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        torch._dynamo.reset()
        with room(0.3 if where == "on the GPU" else 0.0):
            train_module(
                network(name, device),
                TASK,
                train.specs,
                train,
                train.take([0, 1]),
                recipe,
                seed=0,
                device=device,
                log=lambda epoch, values, seen=seen: seen.append(time.perf_counter()),
            )
        later = statistics.median(b - a for a, b in itertools.pairwise(seen[1:]))
        most = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
        print(f"| {name} | {where} | {how} | {later:.2f} | {seen[1] - seen[0]:.1f} | {most:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--cases", type=int, default=373)
    parser.add_argument("--size", type=int, default=8192, help="of the products that measure the ceilings")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("this torch sees no CUDA device")
    device = torch.device(args.device)
    card = torch.cuda.get_device_name() if args.device == "cuda" else "no GPU"
    found = ceilings(device, args.size)
    print(
        f"{card}, torch {torch.__version__}. Measured ceilings: {found[0] / 1e12:.1f} TFLOP/s in float32, "
        f"{found[1] / 1e12:.0f} in bfloat16 (products of {args.size}^2), {found[2] / 1e12:.2f} TB/s (copy).\n"
    )
    steps(device, args.runs, args.tokens, found)
    print()
    epochs(device, args.cases, args.tokens)


if __name__ == "__main__":
    main()
