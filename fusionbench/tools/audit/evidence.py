"""What one finished cell has left on disk, as an audit reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.cell_result import AFTER
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell, Plan
from fusionbench.survival.stats import distinct_risks

if TYPE_CHECKING:
    import pandas as pd

    from fusionbench.core.cell_result import CellResult


@dataclass(frozen=True)
class Written:
    """What one finished cell has left behind.

    Attributes:
        ledgers: modality to the ids that its preprocessing was fitted on.
        edges: inner edges of its time bins, months; None where it recorded none.
        validated: ids predicted as validation cases.
        tested: (pattern, draw) to the sorted ids predicted as test cases.
        split, masks: hashes of what it was given; empty where it recorded none.
        hidden: (pattern, draw, share of modalities hidden) of every mask laid over its test fold.
        distinct: different risks, or log odds of a class, on the test fold under the pattern `full`.
        saturated: every S there is 0 or 1, as a clamped loss no longer tells apart; False where there is no S.
        kept_epoch: whose weights were kept; None for what the training loop did not train.
        best_epoch: the first epoch with the lowest validation loss, of those whose weights could be kept (the last
            stage's); None where none is defined.
        reads_targets: its network was given the outcomes of its training batches.
        prepared: what was prepared before training to the ids that it was prepared from.
    """

    cell: Cell
    ledgers: Mapping[str, frozenset[str]]
    edges: tuple[float, ...] | None
    validated: frozenset[str]
    tested: Mapping[tuple[str, int], tuple[str, ...]]
    split: str
    masks: str
    hidden: tuple[tuple[str, int, float], ...]
    distinct: int
    saturated: bool
    kept_epoch: int | None
    best_epoch: int | None
    reads_targets: bool
    prepared: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, cell: Cell, record: Mapping[str, Any], result: CellResult, frame: pd.DataFrame) -> Written:
        """What a rule asks of a cell's record, its result and its predictions as they lie in the file."""
        test = frame[frame["split"] == "test"]
        draws = test.groupby(["pattern", "draw"], sort=False)["case"]
        given, fit = record["record"].get("ingredients", {}), record["record"].get("fit", {})
        return cls(
            cell=cell,
            ledgers={name: frozenset(part["ledger"]) for name, part in result.preprocess.items()},
            edges=tuple(fit["edges"]) if "edges" in fit else None,
            validated=frozenset(frame.loc[frame["split"] == "val", "case"]),
            tested={(str(key[0]), int(str(key[1]))): tuple(sorted(ids)) for key, ids in draws},
            split=given.get("split", ""),
            masks=given.get("masks", ""),
            hidden=tuple(
                (p["pattern"], p["draw"], p["realised"])
                for p in record["patterns"]
                if p["split"] == "test" and not p["pattern"].startswith(AFTER)  # a model's own, which hide nothing
            ),
            distinct=_distinct(result),
            saturated=_saturated(test[test["pattern"] == "full"], cell.recipe.clamp or 0.0),
            kept_epoch=fit.get("best_epoch"),
            best_epoch=_lowest(result.history, fit),
            reads_targets=bool(fit.get("reads_targets")),
            prepared={
                f"{one['name']} of {'+'.join(one['settings']['reads'])}": frozenset(one["ledger"])
                for one in record["record"].get("preparations", ())
            },
        )

    @property
    def condition(self) -> str:
        """Dataset and variant; declared deviations are counted for each."""
        return f"{self.cell.dataset} ({self.cell.variant})"


def _distinct(result: CellResult) -> int:
    """How many different scores cases are ranked by; of several rankings the fewest."""
    made = next(p.prediction for p in result.predictions if (p.split, p.pattern) == ("test", "full"))
    return min(map(distinct_risks, made.scores.T))


def _saturated(tested: pd.DataFrame, clamp: float) -> bool:
    """Whether every S is within `clamp` of 0 or 1; S are written to single precision."""
    survival = tested.filter(regex=r"^S_").to_numpy(np.float64)
    near = max(clamp, float(np.finfo(np.float32).eps))
    return survival.size > 0 and bool(np.all(np.minimum(survival, 1 - survival) <= near))


def _lowest(history: Iterable[tuple[int, str, str, float]], fit: Mapping[str, Any]) -> int | None:
    if fit.get("best_epoch") is None:
        return None
    first = fit.get("first_epoch", 1)
    losses = {
        epoch: value
        for epoch, split, quantity, value in history
        if (split, quantity) == ("val", "loss") and np.isfinite(value) and epoch >= first
    }
    return min(losses, key=lambda epoch: (losses[epoch], epoch), default=None)


@dataclass(frozen=True)
class StoredResult:
    """A planned cell with its stored record and result, without its weights, and what the protocol's rules ask."""

    cell: Cell
    record: Mapping[str, Any]
    result: CellResult
    written: Written


def read_results(plan: Plan, store: Store) -> list[StoredResult]:
    """Every finished cell of the plan; each file is read once.

    Raises:
        ResultsError: a file of a finished cell is missing or damaged.
    """
    found = []
    for cell in plan.todo():
        if store.has(cell.key) and (record := store.record(cell.key))["status"] == "ok":
            frame = store.predictions(cell.key)
            result = store.result(cell.key, record, frame, weights=False)
            found.append(StoredResult(cell, record, result, Written.of(cell, record, result, frame)))
    return found
