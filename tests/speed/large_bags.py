"""What one large bag among many costs in training: whole batches, batches in parts, and drawn instances.

`python -m tests.speed.large_bags [--patients 32] [--longest 60000] [--others 1000] [--width 1024] [--batch 16]` trains
a network of gated attention for one epoch on made-up bags, each way in a process of its own, and prints the seconds of
the training epoch and the peak of the process's memory. All cases are prepared and kept beforehand; what they take is
in the peak, and is printed as the peak before training.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.types import Batch, Case, CaseSet, ModalitySpec, PreparedBag, PreparedCase, SurvivalTargets, Task
from fusionbench.execution.training import loop
from fusionbench.nn import GatedAttention

WAYS: Mapping[str, Mapping[str, Any]] = {
    "whole batches": {},
    "max_tokens = 65536": {"max_tokens": 65536},
    "max_tokens = 16384": {"max_tokens": 16384},
    "max_instances = 4000": {"max_instances": 4000},
    "both": {"max_instances": 4000, "max_tokens": 16384},
}
EDGES = (6.0, 12.0, 24.0)


class Net(nn.Module):
    """Embedded instances, pooled by gated attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(width, 256), nn.ReLU(), nn.Dropout(0.25))
        self.pool, self.head = GatedAttention(256, 256), nn.Linear(256, 4)

    def forward(self, batch: Batch) -> Tensor:
        bag = batch.bags["image"]
        made: Tensor = self.head(self.pool(self.embed(bag.values), bag.mask)[0])
        return made


def peak() -> float:
    """GB of memory that the process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def one_way(args: argparse.Namespace) -> None:
    """An epoch of training; prints JSON."""
    generator = torch.Generator().manual_seed(0)
    lengths = [args.longest, *(args.others + 7 * i for i in range(args.patients - 1))]
    bags = [PreparedBag(torch.randn(n, args.width, generator=generator)) for n in lengths]
    known = {f"p{i}": PreparedCase(f"p{i}", {"image": bag}) for i, bag in enumerate(bags)}
    rng = np.random.default_rng(0)
    n = len(bags)
    targets = SurvivalTargets(rng.exponential(15, n), rng.random(n) < 0.6, rng.integers(0, 4, n))
    specs = {"image": ModalitySpec("image", "bag", args.width)}
    cases = CaseSet(tuple(Case(k, k, None, {"image": 0}) for k in known), specs, targets, lambda c, _: known[c.id])
    recipe = TrainRecipe(epochs=1, batch_size=args.batch, patience=None, **WAYS[args.way])
    before, spent = peak(), {"start": time.perf_counter()}
    task = Task(n_outputs=4, edges=EDGES)
    loop.train_module(
        Net(args.width),
        task,
        specs,
        cases,
        cases.take([]),
        recipe,
        seed=0,
        device=torch.device("cpu"),
        log=lambda epoch, _: spent.update(end=time.perf_counter()),
    )
    print(json.dumps({"seconds": spent["end"] - spent["start"], "before": before, "peak": peak()}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=32)
    parser.add_argument("--longest", type=int, default=60_000)
    parser.add_argument("--others", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--way", choices=list(WAYS), help="this one alone, in this process")
    args = parser.parse_args()
    if args.way is not None:
        one_way(args)
        return
    for way in WAYS:
        command = [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--way", way]
        made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(
            f"{way:22} {made['seconds']:7.1f} s   peak {made['peak']:5.2f} GB (before {made['before']:.2f})", flush=True
        )


if __name__ == "__main__":
    main()
