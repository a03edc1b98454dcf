"""results/<suite>/cells/<key>/: one folder a cell, there whole or not at all, read back as values and tidy frames."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic_core import from_json

from fusionbench.core.cell_result import CellResult, PatternPrediction, Score
from fusionbench.core.endpoints import ClassPrediction, Prediction
from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.core.types import SurvivalPrediction
from fusionbench.results.cell_files import (
    CELL,
    CURVES,
    HISTORY,
    PREDICTIONS,
    PREPROCESS,
    WEIGHTS,
    frame_of,
    probability_column,
    read_arrays,
    read_json,
    read_part,
    read_table,
    survival_column,
    unreadable,
    write_parts,
)
from fusionbench.results.replace_folder import ASIDE, put_back, replace_folder
from fusionbench.suites.lock import LOCK

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from fusionbench.suites.cell import Cell

RECORD = {"key", "status", "reason", "scores", "grid", "patterns", "record"}
ABOUT_S = ("n", "survival")


def suites_under(root: Path, having: str = LOCK) -> list[str]:
    """Names of the suites that have results under a results root, sorted; none where there is no such folder.

    Args:
        having: a file or folder that each of them has.

    Raises:
        OSError: the system refuses to list the root or to look into a folder of it.
    """
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    return [name for name in names if not name.startswith(".") and (root / name / having).exists()]


class Store:
    """The results of one suite under a results root."""

    def __init__(self, root: Path, suite: str) -> None:
        self.root, self.suite = root, suite
        self.folder = root / suite
        self.cells = self.folder / "cells"

    @classmethod
    def at(cls, folder: Path) -> Store:
        """A store whose files go into a folder anywhere."""
        folder = folder.absolute()
        return cls(folder.parent, folder.name)

    def prepare(self) -> None:
        """Make the folders and prove that they can be written, before any compute.

        Raises:
            ResultsError: naming the folder and the system's reason.
        """
        probe = self.cells / f".probe-{os.getpid()}"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            probe.write_text("")
            probe.unlink(missing_ok=True)  # a process of this number on another machine may have removed it
        except OSError as error:
            raise ResultsError(
                f"results folder {self.folder} cannot be written: {error.strerror or error}; choose another with --out"
            ) from error

    def clear_interrupted(self) -> None:
        """Put back or remove what a killed process left among the cells; for whoever holds the suite's run lock."""
        for old in self.cells.glob(f"{ASIDE}*"):
            put_back(self.cells / old.name.removeprefix(ASIDE))
        for old in self.cells.glob(".tmp-*"):
            shutil.rmtree(old, ignore_errors=True)

    def has(self, key: str) -> bool:
        """Whether a cell has a result, finished or failed."""
        return (self.cells / key / CELL).exists()  # also where a folder lies in its place, which reading it names

    def has_file(self, name: str) -> bool:
        """Whether the suite's folder holds a file of that name."""
        return (self.folder / name).exists()

    def keys(self) -> tuple[str, ...]:
        """The keys of every cell that has a result, sorted."""
        try:
            folders = os.listdir(self.cells)
        except FileNotFoundError:
            return ()
        return tuple(sorted(name for name in folders if not name.startswith(".") and self.has(name)))

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
        path = f"{self.cells}/{key}/{CELL}"
        try:
            with open(path, "rb") as file:
                record: dict[str, Any] = from_json(file.read())  # a fraction of the time that json takes
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from error
        if not isinstance(record, dict) or not record.keys() >= RECORD or not isinstance(record["record"], dict):
            raise unreadable(path, "it is not what a run writes there")
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
            write_parts(temporary, result)
            sync_folder(temporary)
            replace_folder(temporary, final)
            _fsync(self.cells)
        except OSError as error:
            raise ResultsError(file_problem(final, error, "choose another --out", to="write")) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return final

    def load(self, key: str, *, weights: bool = True) -> CellResult:
        """A stored cell as the value it was; without its weights where they are not wanted.

        Raises:
            ResultsError: a file is missing or damaged; says which and what to do.
        """
        record = self.record(key)
        return self.result(key, record, self.predictions(key) if record["status"] == "ok" else None, weights=weights)

    def result(
        self, key: str, record: Mapping[str, Any], predictions: pd.DataFrame | None, *, weights: bool
    ) -> CellResult:
        """A stored cell as the value it was, where its cell.json and its predictions were read already.

        Args:
            predictions: None of a cell that did not finish.

        Raises:
            ResultsError: a further file is missing or damaged; says which and what to do.
        """
        ok = predictions is not None
        folder = self.cells / key
        return CellResult(
            key=key,
            status=record["status"],
            reason=record["reason"],
            predictions=() if predictions is None else tuple(_split_predictions(predictions, record)),
            scores=tuple(_score(s) for s in record["scores"]),
            history=tuple(self.history(key).itertuples(index=False, name=None)) if ok else (),
            record=record["record"],
            preprocess=read_part(folder / PREPROCESS, read_json) if ok else {},
            state=read_part(folder / WEIGHTS, read_arrays) if ok and weights else {},
            curves=read_part(folder / CURVES, read_arrays) if ok and (folder / CURVES).exists() else {},
        )

    def predictions(self, key: str) -> pd.DataFrame:
        """predictions.parquet: split, pattern, draw, case, risk, S_<month>."""
        return frame_of(self.predictions_table(key))

    def history(self, key: str) -> pd.DataFrame:
        """history.parquet: epoch, split, quantity, value."""
        return frame_of(self.history_table(key))

    def predictions_table(self, key: str) -> pa.Table:
        """predictions.parquet as an Arrow table, which costs a fraction of a frame."""
        return read_part(self.cells / key / PREDICTIONS, read_table)

    def history_table(self, key: str) -> pa.Table:
        """history.parquet as an Arrow table."""
        return read_part(self.cells / key / HISTORY, read_table)

    def make_folder(self, name: str) -> Path:
        """A folder below the suite's.

        Raises:
            ResultsError: the system refuses it.
        """
        folder = self.folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(file_problem(folder, error, "choose another place with --out", to="write")) from error
        return folder

    def remove(self, name: str) -> None:
        """Remove a file of the suite's folder; nothing where there is none.

        Raises:
            ResultsError: the system refuses it.
        """
        path = self.folder / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ResultsError(file_problem(path, error, "choose another place with --out", to="write")) from error

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
    temporary = path.with_name(f".tmp-{uuid4().hex}-{path.name}")  # machines that share a folder share process numbers
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
    except OSError as error:
        raise ResultsError(file_problem(path, error, "choose another place with --out", to="write")) from error
    finally:
        with suppress(OSError):  # it was never made
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Make a folder of files survive a power cut."""
    for part in (*folder.iterdir(), folder):
        _fsync(part)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _score(stored: Mapping[str, Any]) -> Score:
    value = stored["value"]
    return Score(**{**stored, "value": float("nan") if value is None else value})


def _split_predictions(frame: pd.DataFrame, record: Mapping[str, Any]) -> Iterator[PatternPrediction]:
    import numpy as np

    times = np.asarray(record["grid"], dtype=np.float64)
    columns = [survival_column(t) for t in record["grid"]]
    classes = tuple(record.get("classes", ()))
    probabilities = [probability_column(label) for label in classes]
    start = 0
    for about in record["patterns"]:  # rows lie in the order in which the patterns were written
        part = frame.iloc[start : start + about["n"]]
        start += about["n"]
        ids = tuple(part["case"])
        prediction: Prediction
        if classes:
            prediction = ClassPrediction(ids, classes, part[probabilities].to_numpy(np.float64))
        else:
            prediction = SurvivalPrediction(
                ids,
                risk=part["risk"].to_numpy(np.float64),
                survival=part[columns].to_numpy(np.float64) if about["survival"] else None,
                times=times if about["survival"] else None,
            )
        yield PatternPrediction(prediction=prediction, **{k: v for k, v in about.items() if k not in ABOUT_S})
