"""`fusionbench profile`: where the time and the memory of one cell go, measured in the run that every cell takes.

results/<suite>/profile/<cell>/ holds the table and the numbers.
"""

from __future__ import annotations

import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from fusionbench.core import environment, timing
from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import FusionBenchError, SuiteError
from fusionbench.core.file_names import filename
from fusionbench.core.json_text import json_text
from fusionbench.core.registry import Registry
from fusionbench.core.timing import PhaseTimer, Spent, span
from fusionbench.execution.run_cell import run_cell
from fusionbench.execution.shared import SharedResources
from fusionbench.nn import TorchModel
from fusionbench.results.store import Store
from fusionbench.suites.cell import ORACLE, Cell
from fusionbench.suites.selection import Selection
from fusionbench.suites.suite import BASE
from fusionbench.tools.explain.request import Request
from fusionbench.tools.explain.select import row_of
from fusionbench.tools.find_suite import find_suite
from fusionbench.tools.planning import plan_suite

STEPS: Mapping[str, str] = {
    timing.LOAD: "cases read from files or memory",
    timing.PREPARE: "preprocessing fitted and applied",
    timing.COLLATE: "batches put together",
    timing.FORWARD: "the model and its loss, in training",
    timing.BACKWARD: "gradients",
    timing.OPTIMISER: "L1, clipping, the optimiser's step",
    timing.PREDICT: "the model on validation and test cases",
    timing.EVALUATE: "validation losses, test patterns, metrics",
    timing.WRITE: "the cell's files",
    timing.REST: "all else: the model built, seeds, records",
}
"""Every kind of work, in the order of the table, and what it is."""
OF_THE_MODEL = frozenset({timing.FORWARD, timing.BACKWARD, timing.OPTIMISER, timing.PREDICT})
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
        """Wall time of the cell."""
        return sum(s.seconds for s in self.spent.values())

    @property
    def cpu_seconds(self) -> float:
        """CPU time of the process, over all its threads."""
        return sum(s.cpu_seconds for s in self.spent.values())

    @property
    def harness(self) -> float:
        """Share of the wall time that is not the model's: in [0, 1]."""
        return sum(s.seconds for name, s in self.spent.items() if name not in OF_THE_MODEL) / self.seconds

    @property
    def harness_cpu(self) -> float:
        """Share of the CPU time that is not the model's; other programs disturb it less than they do wall time."""
        return sum(s.cpu_seconds for name, s in self.spent.items() if name not in OF_THE_MODEL) / self.cpu_seconds


def refuse_members(cell: Cell) -> None:
    """Refuse a cell that is built on others: it cannot run alone.

    Raises:
        SuiteError: saying which they are.
    """
    if cell.members:
        others = ", ".join(dict.fromkeys(f"{m.model} on {'+'.join(m.modalities)}" for m, _ in cell.members))
        raise SuiteError(f"{cell.model} is built on finished cells of others; profile one of those: {others}")


def refuse_untrained(cell: Cell, registry: Registry) -> None:
    """Refuse a model that the training loop never sees: it has no steps to tell apart.

    Raises:
        SuiteError: its class is no TorchModel.
    """
    if cell.model.name == ORACLE or not issubclass(registry.model(cell.model.name), TorchModel):
        raise SuiteError(f"{cell.model} trains no torch module, so there are no steps to tell apart; profile a network")


def measure(cell: Cell, resources: SharedResources, store: Store, before: float) -> Profile:
    """Run the cell with everything that it does for itself: its preprocessing is fitted, its result is written.

    Raises:
        FusionBenchError: the cell fails; says why.
    """
    short = replace(cell, recipe=cell.recipe.model_copy(update={"epochs": 1}))
    _ran(short, _fresh(resources))  # imports, allocations and kernels that only a process's first cell pays for
    with tempfile.TemporaryDirectory(prefix="fusionbench-profile-") as folder:
        aside = Store(Path(folder), store.suite)
        aside.prepare()
        with PhaseTimer(cuda=resources.device.type == "cuda") as clock:
            result = _ran(cell, _fresh(resources))
            with span(timing.WRITE):
                aside.write(result)
    epochs = max((step for step, split, *_ in result.history if split == "train"), default=0)
    threads = int(result.record["environment"]["threads"])
    about = environment.describe(str(resources.device), threads)
    return Profile(cell, {name: clock.spent[name] for name in STEPS if name in clock.spent}, before, epochs, about)


def _fresh(resources: SharedResources) -> SharedResources:
    """The resources with no preprocessing fitted and nothing prepared yet."""
    return replace(resources, _fitted=OrderedDict(), _prepared=OrderedDict(), stored_states=False)


def _ran(cell: Cell, resources: SharedResources) -> CellResult:
    def load(key: str) -> CellResult:
        raise FusionBenchError(f"{cell.label} asked for cell {key}, which is none of its members")

    result = run_cell(cell, resources, load)
    if result.status != "ok":
        raise FusionBenchError(f"{cell.label} failed, so there is nothing to profile: {result.reason}")
    return result


@dataclass(frozen=True)
class Profiled:
    """A profile and the folder that it was written to."""

    profile: Profile
    folder: Path


def write(profile: Profile, store: Store) -> Profiled:
    """Write profile.md and profile.json; what an earlier profile of the cell left is replaced.

    Raises:
        ResultsError: they cannot be written.
    """
    place = f"profile/{_name(profile)}"
    store.write_text(f"{place}/profile.md", markdown(profile))
    store.write_text(f"{place}/profile.json", json_text(as_json(profile), indent=1))
    return Profiled(profile, store.folder / place)


def _name(profile: Profile) -> str:
    cell = profile.cell
    parts = [str(cell.model), str(cell.dataset), "+".join(cell.modalities)]
    parts += [cell.variant] if cell.variant != BASE else []
    return filename("-".join([*parts, f"repeat{cell.repeat}", f"fold{cell.fold}"]))


def header(profile: Profile) -> list[str]:
    """The table's columns."""
    gpu = ["GPU MiB"] if _on_gpu(profile) else []
    return ["step", "seconds", "%", "CPU s", "times", "peak MiB", *gpu, "what it is"]


def lines(profile: Profile) -> list[Sequence[str]]:
    """The table's lines, the sum last."""
    made: list[Sequence[str]] = []
    for name, spent in profile.spent.items():
        gpu = [f"{spent.gpu_peak_mib:.0f}"] if _on_gpu(profile) else []
        share = f"{100 * spent.seconds / profile.seconds:.1f}"
        numbers = [f"{spent.seconds:.3f}", share, f"{spent.cpu_seconds:.3f}", str(spent.entered)]
        made.append([name, *numbers, f"{spent.peak_mib:.0f}", *gpu, STEPS[name]])
    every = profile.spent.values()
    gpu = [f"{max(s.gpu_peak_mib for s in every):.0f}"] if _on_gpu(profile) else []
    peak = f"{max(s.peak_mib for s in every):.0f}"
    made.append(["cell", f"{profile.seconds:.3f}", "100", f"{profile.cpu_seconds:.3f}", "1", peak, *gpu, ""])
    return made


def summary(profile: Profile) -> list[str]:
    """What stands below the table."""
    threads = profile.about["threads"]
    return [
        f"harness (all but {', '.join(name for name in STEPS if name in OF_THE_MODEL)}): {100 * profile.harness:.1f} % "
        f"of the cell's time, {100 * profile.harness_cpu:.1f} % of its CPU time",
        f"{profile.epochs} epochs on {profile.about['device']}, {threads} thread{'s' if threads != 1 else ''}; "
        f"before that, once a process, the cohort was read and planned in {profile.before:.1f} s",
    ]


def markdown(profile: Profile) -> str:
    """The page profile.md: the table and what stands below it."""
    table = tabulate(lines(profile), header(profile), tablefmt="github", disable_numparse=True)
    notes = "\n".join(f"- {line}" for line in summary(profile))
    return f"# Profile: {profile.cell.label}\n\n{table}\n\n{notes}\n"


def as_json(profile: Profile) -> dict[str, Any]:
    """Plain values, full precision."""
    return {
        "cell": profile.cell.columns,
        "key": profile.cell.key,
        "seconds": profile.seconds,
        "cpu_seconds": profile.cpu_seconds,
        "harness_share": profile.harness,
        "harness_cpu_share": profile.harness_cpu,
        "epochs": profile.epochs,
        "before_seconds": profile.before,
        "steps": {name: asdict(spent) for name, spent in profile.spent.items()},
        "environment": dict(profile.about),
    }


def _on_gpu(profile: Profile) -> bool:
    return str(profile.about["device"]).startswith("cuda")


def profile_fold(
    request: Request,
    fold: int,
    out: Path,
    resources: SharedResources,
    log: Callable[[str], None] | None = None,
) -> Profiled:
    """Run one cell twice, a short warming-up of one epoch first, and write what the second one took.

    The cell's result goes nowhere: what is stored of the suite stays as it is.

    Args:
        request: which model, dataset (else the suite's first), modalities, variant and repeat.
        out: the results root.

    Raises:
        SuiteError, DataError: there is no such cell, it is skipped, or it trains no torch module; before any compute.
        FusionBenchError: the cell fails.
    """
    for flag, value in (("fold", fold), ("repeat", request.repeat)):
        if value < 0:
            raise SuiteError(f"--{flag} {value}: must be at least 0")
    began = time.perf_counter()
    found = find_suite(request.suite, out, resources.registry)
    suite = found.load()
    datasets = (request.dataset or str(suite.datasets[0]),)
    selection = Selection(datasets, (request.model,), str(fold), repeats=request.repeat + 1)
    plan = plan_suite(suite, resources, selection)
    found.remember()
    before = time.perf_counter() - began
    row, _ = row_of(plan, request)
    cell = row[0]
    refuse_members(cell)
    refuse_untrained(cell, resources.registry)
    if log is not None:
        log(f"profiling {cell.label} on {resources.device.type}: one epoch to warm up, then the whole cell")
    return write(measure(cell, resources, found.store, before), found.store)
