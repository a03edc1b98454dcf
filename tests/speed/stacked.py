"""How much faster the cells of one vector model are when the folds of a repeat are trained together.

`python -m tests.speed.stacked [DATASET] [--model snn] [--modality omic] [--repeats 3] [--runs 3]`; the data home has to
hold the cohort. Three ways compute the same whole cells (prepare, train, predict, score), turn and turn about: one by
one with torch's plain Adam and L1 a loop over the parameters, one by one as the harness trains, and stacked. The first
turn of each is not counted. Prints medians of the CPU seconds of a turn, which a busy machine disturbs least, and the
median of the ratios within a turn.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from fusionbench.core.protocol import TrainRecipe
from fusionbench.execution.task import Job, Together, computed
from fusionbench.execution.training import loop as training
from fusionbench.session import Session
from fusionbench.suites.cell import Cell

SUITE = """
title = "Folds and repeats of one model on one cohort"
datasets = ["{dataset}"]
models = ["{model}"]
modalities = [["{modality}"]]
metrics = ["harrell_c_index"]
protocol.folds = 5
protocol.repeats = {repeats}
train.l1 = {l1}

[[variant]]
name = "stacked"
train.stacked = true
"""


def plain(parameters: list[nn.Parameter], recipe: TrainRecipe) -> torch.optim.Optimizer:
    """AdamW as torch writes it down, one operation after the other on one parameter after the other."""
    usual = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "foreach": False, "fused": False}
    return torch.optim.AdamW(parameters, **usual)


def plain_l1(parameters: Sequence[nn.Parameter], strength: float) -> None:
    for parameter in parameters:
        if strength and parameter.grad is not None:
            parameter.grad += strength * parameter.detach().sign()


@contextmanager
def plain_adam() -> Iterator[None]:
    usual = training.optimizer, training.add_l1
    training.optimizer, training.add_l1 = plain, plain_l1
    try:
        yield
    finally:
        training.optimizer, training.add_l1 = usual


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", default="tcga-kirp")
    parser.add_argument("--model", default="snn")
    parser.add_argument("--modality", default="omic")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--l1", type=float, default=0.0)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "many-cells.toml"
        suite.write_text(SUITE.format(**vars(args)), encoding="utf-8")
        session = Session(out=Path(folder) / "results", device="cpu", threads=1)
        cells = session.plan(str(suite)).todo()
        compare(session, [c for c in cells if not c.stack], [c for c in cells if c.stack], args)


def compare(session: Session, alone: list[Cell], stacked: list[Cell], args: argparse.Namespace) -> None:
    stacks = list({cell.stack[0].key: cell.stack for cell in stacked}.values())

    def one_by_one() -> int:
        return sum(computed(Job(cell), session.resources)[0].status == "ok" for cell in alone)

    def with_plain_adam() -> int:
        with plain_adam():
            return one_by_one()

    def together() -> int:
        results = [r for stack in stacks for r in computed(Together(stack, stack), session.resources)]
        return sum(result.status == "ok" and "stacked" in result.record for result in results)

    ways: dict[str, Callable[[], int]] = {"plain Adam": with_plain_adam, "one by one": one_by_one, "stacked": together}
    seconds = timed(ways, args.runs, len(alone))
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(times, seconds["stacked"], strict=True))
        median = statistics.median(times)
        print(f"{name}: {median:.2f} s of CPU for {len(alone)} cells; {ratio:.2f} times what stacked takes")
    print(f"{args.model} on {args.dataset} {args.modality}, {args.runs} turns, {torch.get_num_threads()} thread")


def timed(ways: dict[str, Callable[[], int]], runs: int, expected: int) -> dict[str, list[float]]:
    """CPU seconds of each way, turn and turn about."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        for name, way in ways.items():
            began = time.process_time()
            assert way() == expected
            seconds[name].append(time.process_time() - began)
    return {name: times[1:] for name, times in seconds.items()}


if __name__ == "__main__":
    main()
