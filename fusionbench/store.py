"""results/<suite>/cells/<key>/: one folder a cell, there whole or not at all, read back as values and tidy frames."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench.errors import ResultsError
from fusionbench.results import CellResult, PatternPrediction, Score
from fusionbench.types import SurvivalPrediction

if TYPE_CHECKING:
    import pandas as pd

CELL, PREDICTIONS, HISTORY = "cell.json", "predictions.parquet", "history.parquet"
PREPROCESS, WEIGHTS = "preprocess.json", "model.safetensors"


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
            if not _alive(old):
                shutil.rmtree(old, ignore_errors=True)

    def has(self, key: str) -> bool:
        return (self.cells / key / CELL).is_file()

    def keys(self) -> tuple[str, ...]:
        return tuple(sorted(p.parent.name for p in self.cells.glob(f"[!.]*/{CELL}")))

    def record(self, key: str) -> dict[str, Any]:
        """cell.json of one cell.

        Raises:
            ResultsError: missing or damaged; says which file and what to do.
        """
        path = self.cells / key / CELL
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResultsError(
                f"{path}: cannot be read ({error}); remove the folder and run the suite again"
            ) from error
        return record

    def write(self, result: CellResult) -> Path:
        """Store a result: written under a temporary name, fsynced, renamed.

        Raises:
            ResultsError: the disk refused (full, read-only); nothing half-written stays under the final name.
        """
        final = self.cells / result.key
        temporary = self.cells / f".tmp-{os.getpid()}-{result.key}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            _write_parts(temporary, result)
            for part in temporary.iterdir():
                _fsync(part)
            if final.exists():
                replaced = self.cells / f".tmp-{os.getpid()}-old-{result.key}"
                final.rename(replaced)
                temporary.rename(final)
                shutil.rmtree(replaced)
            else:
                temporary.rename(final)
            _fsync(self.cells)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise ResultsError(
                f"cell {result.key} could not be written to {final}: {error.strerror or error}"
            ) from error
        return final

    def load(self, key: str, *, weights: bool = True) -> CellResult:
        """A stored cell as the value it was; without its weights where they are not wanted."""
        record = self.record(key)
        folder = self.cells / key
        ok = record["status"] == "ok"
        return CellResult(
            key=key,
            status=record["status"],
            reason=record["reason"],
            predictions=tuple(_read_predictions(folder, record)) if ok else (),
            scores=tuple(_score(s) for s in record["scores"]),
            history=_read_history(folder) if ok else (),
            record=record["record"],
            preprocess=json.loads((folder / PREPROCESS).read_text(encoding="utf-8")) if ok else {},
            state=_read_weights(folder) if ok and weights else {},
        )

    def predictions(self, key: str) -> pd.DataFrame:
        """predictions.parquet: split, pattern, draw, case, risk, S_<month>."""
        import pandas as pd

        return pd.read_parquet(self.cells / key / PREDICTIONS)

    def history(self, key: str) -> pd.DataFrame:
        """history.parquet: epoch, split, quantity, value."""
        import pandas as pd

        return pd.read_parquet(self.cells / key / HISTORY)

    def write_text(self, name: str, text: str) -> Path:
        """A file of the suite's folder, replaced whole."""
        path = self.folder / name
        with _replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
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
        temporary.unlink(missing_ok=True)
        raise ResultsError(f"{path} could not be written: {error.strerror or error}") from error


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(temporary: Path) -> bool:
    """Whether the process that writes a temporary folder still runs (here); an hour's age settles other machines."""
    pid = temporary.name.split("-")[1]
    if pid.isdigit() and int(pid) != os.getpid():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True
    return pid.isdigit() or time.time() - temporary.stat().st_mtime < 3600


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
    return fields | {"n": len(p.prediction.ids)}


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


def _read_predictions(folder: Path, record: Mapping[str, Any]) -> Iterator[PatternPrediction]:
    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(folder / PREDICTIONS)
    times = np.asarray(record["grid"], dtype=np.float64)
    columns = [survival_column(t) for t in record["grid"]]
    start = 0
    for about in record["patterns"]:  # rows lie in the order in which the patterns were written
        part = frame.iloc[start : start + about["n"]]
        start += about["n"]
        prediction = SurvivalPrediction(
            ids=tuple(part["case"]),
            risk=part["risk"].to_numpy(np.float64),
            survival=part[columns].to_numpy(np.float64) if columns else None,
            times=times if columns else None,
        )
        yield PatternPrediction(prediction=prediction, **{k: v for k, v in about.items() if k != "n"})


def _write_history(path: Path, history: tuple[tuple[int, str, str, float], ...]) -> None:
    import pandas as pd

    rows = pd.DataFrame(list(history), columns=["epoch", "split", "quantity", "value"])
    rows.astype({"epoch": "int64", "split": "str", "quantity": "str", "value": "float64"}).to_parquet(path, index=False)


def _read_history(folder: Path) -> tuple[tuple[int, str, str, float], ...]:
    import pandas as pd

    frame = pd.read_parquet(folder / HISTORY)
    return tuple(zip(frame["epoch"], frame["split"], frame["quantity"], frame["value"], strict=True))


def _write_weights(path: Path, state: Mapping[str, Any]) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(array) for name, array in state.items()}, path)


def _read_weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / WEIGHTS))
