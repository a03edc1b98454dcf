"""One cell, run under a clock."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fusionbench.core import environment
from fusionbench.core import timing as watch
from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import FusionBenchError, SuiteError
from fusionbench.core.registry import Registry
from fusionbench.core.timing import Clock, Spent, span
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.nn import TorchModel
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, Cell

STEPS: Mapping[str, str] = {
    watch.LOAD: "cases read from files or memory",
    watch.PREPARE: "preprocessing fitted and applied",
    watch.COLLATE: "batches put together",
    watch.FORWARD: "the model and its loss, in training",
    watch.BACKWARD: "gradients",
    watch.OPTIMISER: "L1, clipping, the optimiser's step",
    watch.PREDICT: "the model on validation and test cases",
    watch.EVALUATE: "validation losses, test patterns, metrics",
    watch.WRITE: "the cell's files",
    watch.REST: "all else: the model built, seeds, records",
}
"""Every kind of work, in the order of the table, and what it is."""
OF_THE_MODEL = frozenset({watch.FORWARD, watch.BACKWARD, watch.OPTIMISER, watch.PREDICT})
"""The rest is the harness."""


@dataclass(frozen=True)
class Profile:
    """What a cell took.

    Attributes:
        spent: kind of work to what it took, in the order of `STEPS`; those that there were.
        before: seconds for reading the cohort and planning, once a process.
        epochs: trained.
        about: device, threads, machine and versions.
    """

    cell: Cell
    spent: Mapping[str, Spent]
    before: float
    epochs: int
    about: Mapping[str, object]

    @property
    def seconds(self) -> float:
        return sum(s.seconds for s in self.spent.values())

    @property
    def cpu_seconds(self) -> float:
        return sum(s.cpu_seconds for s in self.spent.values())

    @property
    def harness(self) -> float:
        """Share of the wall time that is not the model's: in [0, 1]."""
        return sum(s.seconds for name, s in self.spent.items() if name not in OF_THE_MODEL) / self.seconds

    @property
    def harness_cpu(self) -> float:
        """The same of CPU time, which other programs on the machine disturb less."""
        return sum(s.cpu_seconds for name, s in self.spent.items() if name not in OF_THE_MODEL) / self.cpu_seconds


def refuse_members(cell: Cell) -> None:
    """A cell that is built on others cannot run alone.

    Raises:
        SuiteError: saying which they are.
    """
    if cell.members:
        others = ", ".join(dict.fromkeys(f"{m.model} on {'+'.join(m.modalities)}" for m, _ in cell.members))
        raise SuiteError(f"{cell.model} is built on finished cells of others; profile one of those: {others}")


def refuse_untrained(cell: Cell, registry: Registry) -> None:
    """A model that the training loop never sees has no steps; told before it is fitted.

    Raises:
        SuiteError: its class is no TorchModel.
    """
    if cell.model.name == ORACLE or not issubclass(registry.model(cell.model.name), TorchModel):
        raise SuiteError(f"{cell.model} trains no torch module, so there are no steps to tell apart; profile a network")


def measure(cell: Cell, resources: SharedResources, store: Store, before: float) -> Profile:
    """The cell with everything that it does for itself: its preprocessing is fitted, its result is written.

    Raises:
        FusionBenchError: the cell fails; says why.
    """
    short = replace(cell, recipe=cell.recipe.model_copy(update={"epochs": 1}))
    _ran(short, _fresh(resources))  # imports, allocations and kernels that only a process's first cell pays for
    with tempfile.TemporaryDirectory(prefix="fusionbench-profile-") as folder:
        aside = Store(Path(folder), store.suite)
        aside.prepare()
        with Clock(cuda=resources.device.type == "cuda") as clock:
            result = _ran(cell, _fresh(resources))
            with span(watch.WRITE):
                aside.write(result)
    epochs = max((step for step, split, *_ in result.history if split == "train"), default=0)
    threads = int(result.record["environment"]["threads"])
    about = environment.describe(str(resources.device), threads)
    return Profile(cell, {name: clock.spent[name] for name in STEPS if name in clock.spent}, before, epochs, about)


def _fresh(resources: SharedResources) -> SharedResources:
    """The same with no preprocessing fitted yet."""
    return replace(resources, _fitted=OrderedDict())


def _ran(cell: Cell, resources: SharedResources) -> CellResult:
    def load(key: str) -> CellResult:
        raise FusionBenchError(f"{cell.label} asked for cell {key}, which is none of its members")

    result = run_cell(cell, resources, load)
    if result.status != "ok":
        raise FusionBenchError(f"{cell.label} failed, so there is nothing to profile: {result.reason}")
    return result
