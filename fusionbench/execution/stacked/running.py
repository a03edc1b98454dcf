"""run_stack: from the cells of a stack to the results of those that are wanted.

All of them are trained, also where one alone is wanted: what is computed next to what may move last bits. Those whose
networks have another shape than the others' (tied quartiles have merged time bins, a column is constant in one fold)
are trained with those of their own shape, or by themselves; so is what turns out not to be stackable. Which it is
depends on the stack alone, and a note in the record says it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from torch import nn

from fusionbench.core.cell_result import CellResult
from fusionbench.core.errors import ResultsError
from fusionbench.execution.determinism import deterministic
from fusionbench.execution.fit_context import Context, Progress, make_model
from fusionbench.execution.resource_samples import Meter
from fusionbench.execution.run_cell import Ready, context_of, failed, finish, measured, prepare, run_cell, seeded
from fusionbench.execution.shared import Workbench
from fusionbench.execution.stacked.member import Trainee
from fusionbench.execution.stacked.training import UnstackableError, train_stack
from fusionbench.execution.threads import limited, threads_for
from fusionbench.execution.training.torch_predictor import TorchPredictor
from fusionbench.nn import TorchModel
from fusionbench.suites.cell import ORACLE, Cell
from fusionbench.suites.stacks import why_alone

Outcome = CellResult | Exception | SystemExit
R = TypeVar("R")


@dataclass(frozen=True)
class Built:
    """A cell with its untrained network."""

    ready: Ready
    context: Context
    module: nn.Module

    @property
    def shape(self) -> tuple[object, ...]:
        """What has to be equal for networks to be stacked."""
        parts = tuple((name, type(part)) for name, part in self.module.named_modules())
        sizes = tuple((name, tuple(p.shape), p.dtype) for name, p in self.module.named_parameters())
        return parts, sizes, self.context.task.n_outputs

    @property
    def trainee(self) -> Trainee:
        of, data = self.context, self.ready.data
        return Trainee(self.module, of.task, of.specs, data.train, data.val, of.seed, of.log)


def run_stack(
    cells: Sequence[Cell], wanted: Collection[str], bench: Workbench, progress: Progress | None = None
) -> tuple[CellResult, ...]:
    """Fit, predict and score; what one cell raises is the failure of that one.

    Args:
        cells: a whole stack, `Cell.stack`.
        wanted: keys of those whose results are returned, in the order of `cells`.
    """
    started = time.perf_counter()
    with (meter := Meter()):
        outcomes = _run(cells, wanted, bench, progress)
    spent = (time.perf_counter() - started) / len(cells)
    return tuple(_result(cell, outcomes[cell.key], spent, meter) for cell in cells if cell.key in wanted)


def note_of(cell: Cell, bench: Workbench) -> str:
    """Why a network whose recipe says `stacked` is trained by itself, for its record; empty where nothing is to say."""
    if not cell.recipe.stacked or cell.stack or cell.model.name == ORACLE:
        return ""
    model = bench.registry.model(cell.model.name)
    if not issubclass(model, TorchModel):
        return ""
    specs = bench.cohort_of(cell).specs_raw
    reason = why_alone(model, {name: specs[name] for name in cell.modalities})
    return f"train.stacked: trained by itself, since {reason or 'no other fold of its repeat is trained alike'}"


def _result(cell: Cell, outcome: Outcome, spent: float, meter: Meter) -> CellResult:
    return measured(outcome, meter) if isinstance(outcome, CellResult) else failed(cell, outcome, spent, meter)


def _run(
    cells: Sequence[Cell], wanted: Collection[str], bench: Workbench, progress: Progress | None
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    shapes: dict[tuple[object, ...], list[Built]] = defaultdict(list)
    for cell in cells:
        built = _tried(partial(_built, cell, bench))
        if isinstance(built, Built):
            shapes[built.shape].append(built)
        else:
            outcomes[cell.key] = built
    for alike in shapes.values():
        if any(built.ready.cell.key in wanted for built in alike):
            outcomes |= _run_alike(alike, wanted, bench, progress)
    return outcomes


def _built(cell: Cell, bench: Workbench) -> Built:
    ready = prepare(cell, bench)
    context = context_of(ready, bench, {})
    model = make_model(bench.registry, cell.chosen)
    assert isinstance(model, TorchModel), "the plan puts no other into a stack"
    with seeded(cell, bench.device):
        module = model.build(context.task, context.specs)
    return Built(ready, context, module)


def _run_alike(
    alike: Sequence[Built], wanted: Collection[str], bench: Workbench, progress: Progress | None
) -> dict[str, Outcome]:
    """The wanted ones of networks of one shape."""
    mine = [built for built in alike if built.ready.cell.key in wanted]
    recipe, threads = alike[0].context.recipe, threads_for(alike[0].ready.data.train, bench.threads, bench.cores)
    with limited(threads), deterministic(bench.deterministic):
        try:
            if len(alike) == 1:
                raise UnstackableError("no other fold of its repeat has a network of its shape")
            began = time.perf_counter()
            tell = None if progress is None else lambda epoch: progress(epoch, recipe.epochs)
            fits = train_stack([built.trainee for built in alike], recipe, bench.device, tell)
            share = (time.perf_counter() - began) / len(alike)
        except UnstackableError as reason:
            note = f"train.stacked: trained by itself, since {reason}"
            return {b.ready.cell.key: run_cell(b.ready.cell, bench, _no_members, progress, note) for b in mine}
        except (Exception, SystemExit) as error:  # noqa: BLE001 - out of memory, for one: of no single cell
            return {built.ready.cell.key: error for built in mine}
        fit_of = {built.ready.cell.key: fit for built, fit in zip(alike, fits, strict=True)}
        about = {"with": [built.ready.cell.key for built in alike], "fit_seconds": share * len(alike)}
        return {
            built.ready.cell.key: _finished(built, fit_of[built.ready.cell.key], bench, threads, share, about)
            for built in mine
        }


def _finished(
    built: Built,
    fit: TorchPredictor | Exception,
    bench: Workbench,
    threads: int,
    share: float,
    about: Mapping[str, Any],
) -> Outcome:
    if isinstance(fit, Exception):
        return fit
    built.context.trained.append(fit)
    built.ready.clock.put("fit", share)
    result = _tried(partial(finish, built.ready, built.context, fit, bench, threads))
    if not isinstance(result, CellResult):
        return result
    return replace(result, record={**result.record, "stacked": dict(about)})


def _tried(work: Callable[[], R]) -> R | Exception | SystemExit:
    """What it gives or, whatever it is that a plugin raises, that."""
    try:
        return work()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - becomes the cell's failure
        return error


def _no_members(key: str) -> CellResult:
    raise ResultsError(f"cell {key} was asked for, and cells of a stack are built on no others")
