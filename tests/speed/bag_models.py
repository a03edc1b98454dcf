"""Patients a second of `porpoise`, `mcat` and `clam` in training: ours at batch 8 against the plain formulation one by
one, forward and backward, on bags of 4,000 x 1,024.

`python -m tests.speed.bag_models [--runs 7] [--tokens 4000] [--threads 2] [--cpu]`
"""

from __future__ import annotations

import statistics
from functools import partial

import torch
from fusionbench_clam import Clam
from fusionbench_mcat.models import Mcat
from fusionbench_porpoise import Porpoise

from fusionbench import Task
from tests.speed import made, plain, plain_fusion
from tests.speed.timing import alternating, arguments, ratio

CHANNELS, CASES, GOAL = 1024, 8, 1.5
MODELS = {
    "porpoise": (Porpoise(Porpoise.Options()), plain.porpoise),
    "mcat": (Mcat(Mcat.Options()), plain.mcat),
    "clam[fusion=concat]": (Clam(Clam.Options(fusion="concat")), plain_fusion.clam),
}


def main() -> None:
    args, clock = arguments(__doc__)
    of = made.specs(CHANNELS)
    singly = [made.batch(of, 1, args.tokens) for _ in range(CASES)]
    together = [made.batch(of, CASES, args.tokens)]
    print("| model | plain, one by one, patients/s | ours, batch 8 | times as fast | goal |\n|---|---|---|---|---|")
    for name, (model, formula) in MODELS.items():
        torch.manual_seed(0)
        net = model.build(Task(n_outputs=4), of).train()
        ways = {
            "plain": partial(made.step, net, partial(formula, net), singly),
            "ours": partial(made.step, net, net, together),
        }
        seconds = alternating(ways, args.runs, clock)
        each = {way: CASES / statistics.median(times) for way, times in seconds.items()}
        times = ratio(seconds["plain"], seconds["ours"])
        print(f"| {name} | {each['plain']:.2f} | {each['ours']:.2f} | {times:.2f} | {GOAL} |", flush=True)


if __name__ == "__main__":
    main()
