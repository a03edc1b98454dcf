"""What one finished cell has left on disk, as an audit reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.results.cell_files import PREPROCESS, read_json, read_part
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell
from fusionbench.survival.stats import distinct_risks

if TYPE_CHECKING:
    import pandas as pd


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
        distinct: different risks on the test fold under the pattern `full`.
        saturated: every S there is 0 or 1, as a clamped loss no longer tells apart; False where there is no S.
        kept_epoch: whose weights were kept; None for what the training loop did not train.
        best_epoch: the first epoch with the lowest validation loss; None where none is defined.
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

    @classmethod
    def of(cls, cell: Cell, record: Mapping[str, Any], store: Store) -> Written:
        """Read what a cell has written."""
        frame = store.predictions(cell.key)
        test = frame[frame["split"] == "test"]
        draws = test.groupby(["pattern", "draw"], sort=False)["case"]
        given, fit = record["record"].get("ingredients", {}), record["record"].get("fit", {})
        return cls(
            cell=cell,
            ledgers={name: frozenset(part["ledger"]) for name, part in _preprocess(cell, store).items()},
            edges=tuple(fit["edges"]) if "edges" in fit else None,
            validated=frozenset(frame.loc[frame["split"] == "val", "case"]),
            tested={(str(key[0]), int(str(key[1]))): tuple(sorted(ids)) for key, ids in draws},
            split=given.get("split", ""),
            masks=given.get("masks", ""),
            hidden=tuple((p["pattern"], p["draw"], p["realised"]) for p in record["patterns"] if p["split"] == "test"),
            distinct=distinct_risks(test.loc[test["pattern"] == "full", "risk"].to_numpy()),
            saturated=_saturated(test[test["pattern"] == "full"], cell.recipe.clamp or 0.0),
            kept_epoch=fit.get("best_epoch"),
            best_epoch=_lowest(store.history(cell.key)) if fit.get("best_epoch") is not None else None,
        )

    @property
    def condition(self) -> str:
        """Dataset and variant; declared deviations are counted for each."""
        return f"{self.cell.dataset} ({self.cell.variant})"


def _saturated(tested: pd.DataFrame, clamp: float) -> bool:
    """Whether every S is within `clamp` of 0 or 1; S are written to single precision."""
    survival = tested.filter(regex=r"^S_").to_numpy(np.float64)
    near = max(clamp, float(np.finfo(np.float32).eps))
    return survival.size > 0 and bool(np.all(np.minimum(survival, 1 - survival) <= near))


def _lowest(history: pd.DataFrame) -> int | None:
    of_val = history[(history["split"] == "val") & (history["quantity"] == "loss") & np.isfinite(history["value"])]
    return None if of_val.empty else int(of_val.sort_values("epoch").loc[of_val["value"].idxmin(), "epoch"])


def _preprocess(cell: Cell, store: Store) -> dict[str, Any]:
    return read_part(store.cells / cell.key / PREPROCESS, read_json)
