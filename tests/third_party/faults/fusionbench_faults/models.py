"""A model that fits in no time, or fails: which, and how, follows from the cell's seed."""

import ctypes
import os
import resource
import signal
import time
from pathlib import Path
from typing import Literal

import numpy as np

from fusionbench import FusionModel, Options, Predictor, SurvivalPrediction

FAULTS = ("raise", "kill", "crash", "memory", "hang")
Fault = Literal["raise", "kill", "crash", "memory", "hang", "disk", "lock", "write"]
LOG = "FAULTS_LOG"
"""Environment variable: a file that gets one line, seed and fault, for every fit that begins."""
NO_NAP = "FAULTS_NO_NAP"
"""Environment variable: where it is set, a fit takes no time, in a run that nobody disturbs."""


def fault_of(seed: int, share: float, kinds: tuple[str, ...] = FAULTS) -> str:
    """The fault of a cell with that seed, or the empty string: `share` of all seeds have one."""
    draw = np.random.default_rng(seed)
    return str(draw.choice(kinds)) if draw.random() < share else ""


def commit(fault: str) -> None:
    """Fail in that way."""
    if fault == "raise":
        raise ValueError("this model fails on purpose")
    if fault == "disk":
        raise OSError(5, "Input/output error on purpose")
    if fault == "write":
        Path("results/scratch").write_bytes(bytes(2**20))
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "crash":
        ctypes.string_at(0)
    if fault == "hang":
        time.sleep(3600)
    if fault == "lock":  # as compiled code does that keeps the interpreter's lock: no other Python thread runs
        ctypes.PyDLL(None).sleep(3600)
    if fault == "memory":
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, hard))
        try:
            kept = []
            while True:
                kept.append(np.ones(2**22))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


class Linear(Predictor):
    """Weights times the means of the modalities."""

    def __init__(self, weights):
        self.weights = weights

    def predict(self, cases):
        values = np.stack([np.concatenate([bag.values.mean(0).numpy() for bag in c.bags.values()]) for c in cases])
        return SurvivalPrediction(cases.ids, values @ self.weights)

    def state(self):
        return {"weights": self.weights}


class Faulty(FusionModel):
    """Random weights. Fails in a share of the cells, chosen by their seeds."""

    name = "faulty"
    missing = "impute"

    class Options(Options):
        """share: of cells that fail; fault: this one in every cell; first: only in a cell's first fit, by FAULTS_LOG.

        nap: seconds that a fit takes.
        """

        share: float = 0.0
        fault: Fault | None = None
        first: bool = False
        nap: float = 0.0

    def fit(self, train, val, ctx):
        fault = self.options.fault or fault_of(ctx.seed, self.options.share)
        if LOG in os.environ:
            log = Path(os.environ[LOG])
            before = log.read_text().splitlines() if log.exists() else []
            with log.open("a") as file:
                file.write(f"{ctx.seed} {fault}\n")
            if self.options.first and any(line.split()[0] == str(ctx.seed) for line in before):
                fault = ""
        time.sleep(0 if NO_NAP in os.environ else self.options.nap)
        commit(fault)
        return Linear(np.random.default_rng(ctx.seed).normal(size=sum(s.dim for s in ctx.specs.values())))

    def restore(self, state, ctx):
        return Linear(state["weights"])
