"""results/<suite>/cells/<key>/: one folder a cell, there whole or not at all, read back as values and tidy frames."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fusionbench.errors import ResultsError
from fusionbench.results import CellResult, PatternPrediction, Score
from fusionbench.types import SurvivalPrediction

if TYPE_CHECKING:
    import pandas as pd

    from fusionbench.cells import Cell

CELL, PREDICTIONS, HISTORY = "cell.json", "predictions.parquet", "history.parquet"
PREPROCESS, WEIGHTS = "preprocess.json", "model.safetensors"
RECORD = {"key", "status", "reason", "scores", "grid", "patterns", "record"}
ABOUT_S = ("n", "survival")
T = TypeVar("T")


class Store:
    """The results of one suite under a results root."""

    def __init__(self, root: Path, suite: str) -> None:
        self.root, self.suite = root, suite
        self.folder = root / suite
        self.cells = self.folder / "cells"

    def prepare(self) -> None:
        """Make the folders and prove that they can be written, before any compute.

        Raises:
            ResultsError: naming the folder and the system's reason.
        """
        probe = self.cells / f".probe-{os.getpid()}"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise ResultsError(
                f"results folder {self.folder} cannot be written: {error.strerror or error}; choose another with --out"
            ) from error
        for old in self.cells.glob(".tmp-*"):
            if _abandoned(old):
                shutil.rmtree(old, ignore_errors=True)

    def has(self, key: str) -> bool:
        return (self.cells / key / CELL).is_file()

    def has_file(self, name: str) -> bool:
        """Whether the suite's folder holds a file of that name."""
        return (self.folder / name).is_file()

    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(p.parent.name for p in self.cells.glob(f"[!.]*/{CELL}")))

    def finished(self, cell: Cell, versions: Mapping[str, str]) -> dict[str, Any] | None:
        """cell.json of a cell that failed, or was scored by the metrics as they are installed; else None.

        Args:
            versions: metric to the installed version.
        """
        if not self.has(cell.key):
            return None
        record = self.record(cell.key)
        scored = record["record"].get("metrics", {})
        current = all(scored.get(name) == versions[name] for name in cell.metrics)
        return record if record["status"] == "failed" or current else None

    def record(self, key: str) -> dict[str, Any]:
        """cell.json of one cell.

        Raises:
            ResultsError: missing or damaged; says which file and what to do.
        """
        path = self.cells / key / CELL
        try:
            record: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise _unreadable(path, error) from error
        if not isinstance(record, dict) or not record.keys() >= RECORD or not isinstance(record["record"], dict):
            raise _unreadable(path, "it is not what a run writes there")
        return record

    def write(self, result: CellResult) -> Path:
        """Store a result: written under a temporary name, fsynced, renamed.

        Raises:
            ResultsError: the disk refused (full, read-only); nothing half-written stays under the final name.
        """
        final = self.cells / result.key
        temporary = self.cells / f".tmp-{os.getpid()}-{result.key}"
        replaced = self.cells / f".tmp-{os.getpid()}-old-{result.key}"
        try:
            for leftover in (temporary, replaced):
                shutil.rmtree(leftover, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write_parts(temporary, result)
            for part in (*temporary.iterdir(), temporary):
                _fsync(part)
            if final.exists():
                final.rename(replaced)
            temporary.rename(final)
            _fsync(self.cells)
        except OSError as error:
            raise ResultsError(
                f"cell {result.key} could not be written to {final}: {error.strerror or error}"
            ) from error
        finally:
            if replaced.exists() and not final.exists():
                replaced.rename(final)
            for leftover in (temporary, replaced):
                shutil.rmtree(leftover, ignore_errors=True)
        return final

    def load(self, key: str, *, weights: bool = True) -> CellResult:
        """A stored cell as the value it was; without its weights where they are not wanted.

        Raises:
            ResultsError: a file is missing or damaged; says which and what to do.
        """
        record = self.record(key)
        folder = self.cells / key
        ok = record["status"] == "ok"
        return CellResult(
            key=key,
            status=record["status"],
            reason=record["reason"],
            predictions=tuple(_split_predictions(self.predictions(key), record)) if ok else (),
            scores=tuple(_score(s) for s in record["scores"]),
            history=tuple(self.history(key).itertuples(index=False, name=None)) if ok else (),
            record=record["record"],
            preprocess=_read(folder / PREPROCESS, _read_json) if ok else {},
            state=_read(folder / WEIGHTS, _read_weights) if ok and weights else {},
        )

    def predictions(self, key: str) -> pd.DataFrame:
        """predictions.parquet: split, pattern, draw, case, risk, S_<month>."""
        return _read(self.cells / key / PREDICTIONS, _read_frame)

    def history(self, key: str) -> pd.DataFrame:
        """history.parquet: epoch, split, quantity, value."""
        return _read(self.cells / key / HISTORY, _read_frame)

    def write_text(self, name: str, text: str) -> Path:
        """A file of the suite's folder, replaced whole."""
        path = self.folder / name
        with _replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path

    def write_bytes(self, name: str, content: bytes) -> Path:
        """A file of the suite's folder, replaced whole."""
        path = self.folder / name
        with _replacing(path) as temporary:
            temporary.write_bytes(content)
        return path

    def write_frame(self, name: str, frame: pd.DataFrame) -> Path:
        """A parquet file of the suite's folder, replaced whole."""
        path = self.folder / name
        with _replacing(path) as temporary:
            frame.to_parquet(temporary, index=False)
        return path


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise ResultsError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _abandoned(temporary: Path) -> bool:
    """An hour old: no cell takes that long to write, here or on another machine that shares the folder."""
    try:
        return time.time() - temporary.stat().st_mtime > 3600
    except FileNotFoundError:  # its writer has just renamed it
        return False


def _write_parts(folder: Path, result: CellResult) -> None:
    grid: list[float] = []
    if result.status == "ok":
        grid = _write_predictions(folder / PREDICTIONS, result.predictions)
        _write_history(folder / HISTORY, result.history)
        (folder / PREPROCESS).write_text(json.dumps(result.preprocess), encoding="utf-8")
        _write_weights(folder / WEIGHTS, result.state)
    content = {
        "key": result.key,
        "status": result.status,
        "reason": result.reason,
        "scores": [asdict(s) | {"value": s.value if s.value == s.value else None} for s in result.scores],
        "grid": grid,
        "patterns": [_about(p) for p in result.predictions],
        "record": dict(result.record),
    }
    (folder / CELL).write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")


def _about(p: PatternPrediction) -> dict[str, Any]:
    fields = {"split": p.split, "pattern": p.pattern, "draw": p.draw, "n_prior": p.n_prior, "realised": p.realised}
    return fields | {"n": len(p.prediction.ids), "survival": p.prediction.survival is not None}


def _score(stored: Mapping[str, Any]) -> Score:
    value = stored["value"]
    return Score(**{**stored, "value": float("nan") if value is None else value})


def survival_column(month: float) -> str:
    return f"S_{month:.4f}".rstrip("0").rstrip(".")


def _write_predictions(path: Path, predictions: tuple[PatternPrediction, ...]) -> list[float]:
    import pandas as pd

    frames, grid = [], []
    for p in predictions:
        columns: dict[str, Any] = {
            "split": p.split,
            "pattern": p.pattern,
            "draw": p.draw,
            "case": list(p.prediction.ids),
            "risk": p.prediction.risk,
        }
        if p.prediction.survival is not None and p.prediction.times is not None:
            grid = [float(t) for t in p.prediction.times]
            columns |= {survival_column(t): p.prediction.survival[:, i] for i, t in enumerate(grid)}
        frames.append(pd.DataFrame(columns))
    pd.concat(frames, ignore_index=True).to_parquet(path, index=False)
    return grid


def _split_predictions(frame: pd.DataFrame, record: Mapping[str, Any]) -> Iterator[PatternPrediction]:
    import numpy as np

    times = np.asarray(record["grid"], dtype=np.float64)
    columns = [survival_column(t) for t in record["grid"]]
    start = 0
    for about in record["patterns"]:  # rows lie in the order in which the patterns were written
        part = frame.iloc[start : start + about["n"]]
        start += about["n"]
        prediction = SurvivalPrediction(
            ids=tuple(part["case"]),
            risk=part["risk"].to_numpy(np.float64),
            survival=part[columns].to_numpy(np.float64) if about["survival"] else None,
            times=times if about["survival"] else None,
        )
        yield PatternPrediction(prediction=prediction, **{k: v for k, v in about.items() if k not in ABOUT_S})


def _write_history(path: Path, history: tuple[tuple[int, str, str, float], ...]) -> None:
    import pandas as pd

    rows = pd.DataFrame(list(history), columns=["epoch", "split", "quantity", "value"])
    rows.astype({"epoch": "int64", "split": "str", "quantity": "str", "value": "float64"}).to_parquet(path, index=False)


def _write_weights(path: Path, state: Mapping[str, Any]) -> None:
    import numpy as np
    from safetensors.numpy import save

    # Not `save_file`, whose error on a full disk is no OSError; not `ascontiguousarray`, which gives scalars an axis.
    path.write_bytes(save({name: np.asarray(array, order="C") for name, array in state.items()}))


def _read(path: Path, reader: Callable[[Path], T]) -> T:
    """What `reader` makes of a file of a stored cell.

    Raises:
        ResultsError: it is missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        return reader(path)
    except (OSError, ValueError, SafetensorError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise _unreadable(path, error) from error


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _read_frame(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)


def _read_weights(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load

    return dict(load(path.read_bytes()))


def _unreadable(path: Path, why: object) -> ResultsError:
    return ResultsError(f"{path}: cannot be read ({why}); remove the folder and run the suite again")
