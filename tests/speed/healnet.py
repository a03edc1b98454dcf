"""HEALNet's step (forward and backward) against the plain formulation: Table 5's settings, 4,000 x 2,048 patches.

`python -m tests.speed.healnet [--runs 7] [--tokens 4000] [--threads 2] [--cpu]`; prints seconds, ratios, the
memory of a step of 8 cases, and what a further token costs.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
from functools import partial

import psutil
import torch

from tests.speed import made, plain
from tests.speed.timing import Clock, alternating, arguments, ratio

CHANNELS = 2048
GOALS = {
    ("paper-blca", "none"): 1.4,
    ("paper-kirp", "none"): 2.0,
    ("paper-ucec", "none"): 5.5,
    ("paper-blca", "all"): 2.5,
    ("paper-kirp", "all"): 6.0,
    ("paper-ucec", "all"): 6.0,
}
LENGTHS = (2_000, 10_000, 50_000)


def speed(preset: str, sharing: str, tokens: int, runs: int, clock: Clock) -> tuple[float, float, float]:
    """Seconds of the plain step and of ours (medians), and the ratio."""
    of = made.specs(CHANNELS)
    net, batches = made.healnet(preset, of, sharing), [made.batch(of, 1, tokens)]
    ways = {
        "plain": lambda: made.step(net, partial(plain.healnet, net), batches),
        "ours": lambda: made.step(net, net, batches),
    }
    seconds = alternating(ways, runs, clock)
    return *(statistics.median(seconds[way]) for way in ways), ratio(seconds["plain"], seconds["ours"])  # type: ignore[return-value]


def memory(preset: str, sharing: str, tokens: int) -> tuple[float, float]:
    """Peak memory in MiB of a step of 8 cases, batch included: plain and ours, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found = []
    for ours in (False, True):
        with context.Pool(1) as pool:
            found.append(pool.apply(_peak, (preset, sharing, tokens, ours, torch.get_num_threads())))
    return found[0], found[1]


def _peak(preset: str, sharing: str, tokens: int, ours: bool, threads: int) -> float:
    torch.set_num_threads(threads)
    of = made.specs(CHANNELS)
    net = made.healnet(preset, of, sharing)
    made.step(net, net, [made.batch(of, 1, 10)])  # what a first step allocates for good
    before = psutil.Process().memory_info().rss
    batch = made.batch(of, 8, tokens)
    made.step(net, net if ours else partial(plain.healnet, net), [batch])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before / 2**20


def marginal(preset: str, runs: int, clock: Clock) -> tuple[float, float]:
    """Microseconds that a further token costs, from 2,000 to 10,000 and from 10,000 to 50,000."""
    of = made.specs(CHANNELS)
    net = made.healnet(preset, of, "all")
    batches = {n: [made.batch(of, 1, n)] for n in LENGTHS}
    ways = {str(n): partial(made.step, net, net, batches[n]) for n in LENGTHS}
    seconds = {name: statistics.median(times) for name, times in alternating(ways, runs, clock).items()}
    short, middle, long = (seconds[str(n)] for n in LENGTHS)
    return 1e6 * (middle - short) / 8_000, 1e6 * (long - middle) / 40_000


def main() -> None:
    args, clock = arguments(__doc__)
    print("| setting | layers | plain s | ours s | times as fast | goal |\n|---|---|---|---|---|---|")
    for (preset, sharing), goal in GOALS.items():
        slow, fast, times = speed(preset, sharing, args.tokens, args.runs, clock)
        layers = "untied" if sharing == "none" else "shared"
        print(f"| {preset} | {layers} | {slow:.3f} | {fast:.3f} | {times:.2f} | {goal} |", flush=True)
    print("\n| setting | layers | plain MiB | ours MiB | share | goal |\n|---|---|---|---|---|---|")
    for preset, sharing in GOALS:
        most, least = memory(preset, sharing, args.tokens)
        layers = "untied" if sharing == "none" else "shared"
        print(f"| {preset} | {layers} | {most:.0f} | {least:.0f} | {least / most:.2f} | 0.50 |", flush=True)
    print("\n| setting | us a token, 2,000 to 10,000 | 10,000 to 50,000 | ratio | goal |\n|---|---|---|---|---|")
    for preset in made.TABLE_5:
        near, far = marginal(preset, max(3, args.runs // 2), clock)
        print(f"| {preset} | {near:.2f} | {far:.2f} | {far / near:.2f} | 0.85 to 1.15 |", flush=True)


if __name__ == "__main__":
    main()
