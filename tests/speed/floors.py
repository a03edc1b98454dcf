"""What HEALNet's step must multiply at least, beside what it takes: Table 5's settings, 4,000 x 2,048 patches, a case.

`python -m tests.speed.floors [--runs 7] [--tokens 4000] [--threads 2] [--cpu]`; the floor is its operations at the rate
of a plain product of the bag with the key and value projection, in the same rounds.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.speed import made, plain
from tests.speed.timing import alternating, arguments

CHANNELS = 2048


def giga(work: Callable[[], object]) -> float:
    """10^9 floating-point operations of its products."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def main() -> None:
    args, clock = arguments(__doc__)
    print("| setting | layers | plain GFLOP | ours GFLOP | product GFLOP/s | floor s | ours s | share of the floor |")
    print("|---|---|---|---|---|---|---|---|")
    for preset in made.TABLE_5:
        for sharing in ("none", "all"):
            of = made.specs(CHANNELS)
            net, batches = made.healnet(preset, of, sharing), [made.batch(of, 1, args.tokens)]
            wide = net.get_parameter("layers.0.cross.1.key_value.weight")
            bag = batches[0].bags["image0"].values[0]
            ours = partial(made.step, net, net, batches)
            ways = {"product": partial(torch.mm, bag, wide.detach().T), "step": ours}
            seconds = {name: statistics.median(s) for name, s in alternating(ways, args.runs, clock).items()}
            rate = 2 * bag.numel() * len(wide) / 1e9 / seconds["product"]
            least, most = giga(ours), giga(partial(made.step, net, partial(plain.healnet, net), batches))
            layers, floor = "untied" if sharing == "none" else "shared", least / rate
            print(
                f"| {preset} | {layers} | {most:.1f} | {least:.1f} | {rate:.0f} | {floor:.3f} | {seconds['step']:.3f} "
                f"| {floor / seconds['step']:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
