"""What a step costs as the work grows: bag length, batch, layers, modalities, cohort.

`python -m tests.speed.curves [--runs 5] [--threads 2] [--out FOLDER]`; prints a table of seconds, with the exponent of
the growth over the last doubling or so, and draws `curves.png` and `curves.svg` on log-log axes.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from fusionbench_healnet import Healnet
from fusionbench_unimodal.snn import Snn

from fusionbench.core.protocol import TrainRecipe
from fusionbench.execution.training.loop import train_module
from fusionbench.report.figures.style import report_style
from fusionbench.testing.toys import toy_case_set, toy_task
from tests.speed import made
from tests.speed.timing import alternating

CHANNELS, TOKENS = 2048, 1000
Points = Mapping[int, Callable[[], object]]


def healnet(tokens: int = TOKENS, cases: int = 1, modalities: int = 1, **options: int) -> Callable[[], object]:
    """One step of `healnet` at its defaults on an omic vector and `modalities` bags."""
    of = made.specs(CHANNELS, bags=modalities)
    torch.manual_seed(0)
    net = Healnet(Healnet.Options(**options)).build(toy_task(toy_case_set()), of).train()
    return partial(made.step, net, net, [made.batch(of, cases, tokens)])


def epoch(cases: int) -> Callable[[], object]:
    """One epoch of `snn` on a small vector, validation included."""
    train, val = toy_case_set(cases, 0, ("omic",)), toy_case_set(max(20, cases // 5), 1, ("omic",))
    task, recipe, cpu = toy_task(train), TrainRecipe(epochs=1), torch.device("cpu")

    def run() -> None:
        net = Snn(Snn.Options()).build(task, train.specs)
        train_module(net, task, train.specs, train, val, recipe, seed=0, device=cpu, log=lambda *_: None)

    return run


def curves() -> dict[str, Points]:
    """What grows -> its values, each with what to time; made when asked for, one curve at a time."""
    return {
        "bag length": {n: healnet(tokens=n) for n in (500, 1000, 2000, 5000, 10_000, 20_000, 50_000)},
        "batch": {n: healnet(cases=n) for n in (1, 2, 4, 8, 16)},
        "layers": {n: healnet(layers=n) for n in (1, 2, 4, 8)},
        "modalities": {n: healnet(modalities=n) for n in range(1, 7)},
        "cohort (one epoch of snn)": {n: epoch(n) for n in (100, 300, 1000, 3000, 10_000)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where the chart goes; without it only the table is printed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seconds: dict[str, dict[int, float]] = {}
    print("| what grows | from | to | seconds at each | exponent at the end |\n|---|---|---|---|---|")
    for name, points in curves().items():
        times = alternating({str(n): run for n, run in points.items()}, args.runs)
        seconds[name] = mine = {n: statistics.median(times[str(n)]) for n in points}
        (*_, (a, slow), (b, slower)) = mine.items()
        exponent = math.log(slower / slow) / math.log(b / a)
        each = ", ".join(f"{t:.3g}" for t in mine.values())
        print(f"| {name} | {min(mine)} | {max(mine)} | {each} | {exponent:.2f} |", flush=True)
    if args.out:
        draw(seconds, args.out)


def draw(seconds: Mapping[str, Mapping[int, float]], out: Path) -> None:
    """All curves on one pair of log-log axes, beside a line of slope 1."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter, NullFormatter

    with report_style():
        figure, axes = plt.subplots(figsize=(6.5, 4.5), layout="constrained")
        for marker, (name, points) in zip("os^Dv", seconds.items(), strict=True):
            axes.loglog(list(points), list(points.values()), marker=marker, label=name)
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(plain)
            axis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        axes.set_ylim(*axes.get_ylim())  # the line in proportion is for its slope: it may leave the axes
        base = min(min(points.values()) for points in seconds.values())
        axes.plot([low, high], [base, base * high / low], color="0.7", linestyle=":", label="in proportion")
        axes.set(xlabel="how many", ylabel="step or epoch (s)")
        figure.legend(loc="outside right upper", fontsize=8)
        out.mkdir(parents=True, exist_ok=True)
        for ending in ("png", "svg"):
            figure.savefig(out / f"curves.{ending}", dpi=150)
        plt.close(figure)


if __name__ == "__main__":
    main()
