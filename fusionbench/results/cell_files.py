"""The files of one cell's folder: from a result to its files, and from a file to what it holds.

Parquet is written by pyarrow itself: a cell's files have few rows, and a detour through pandas took most of the time
that storing it takes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from fusionbench.core.cell_result import CellResult, PatternPrediction
from fusionbench.core.endpoints import ClassPrediction, SurvivalPrediction
from fusionbench.core.errors import AccessError, ResultsError, file_problem

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from fusionbench.core.endpoints import Prediction

CELL, PREDICTIONS, HISTORY = "cell.json", "predictions.parquet", "history.parquet"
PREPROCESS, WEIGHTS, CURVES = "preprocess.json", "model.safetensors", "curves.safetensors"
PARTS = (PREDICTIONS, HISTORY, PREPROCESS, WEIGHTS, CURVES)
"""The files beside cell.json, whose checksums it holds; curves are there for a model with survival curves."""
T = TypeVar("T")


def write_parts(folder: Path, result: CellResult) -> None:
    """Write every file of a result into the cell's folder; the caller makes them durable (fsync) and visible."""
    grid: list[float] = []
    classes = result.predictions[0].prediction.classes if result.predictions else ()
    if result.status == "ok":
        grid = _write_predictions(folder / PREDICTIONS, result.predictions)
        _write_history(folder / HISTORY, result.history)
        (folder / PREPROCESS).write_text(json.dumps(result.preprocess), encoding="utf-8")
        _write_arrays(folder / WEIGHTS, result.state)
        if result.curves:
            _write_arrays(folder / CURVES, result.curves)
    content = {
        "key": result.key,
        "status": result.status,
        "reason": result.reason,
        "scores": [asdict(s) | {"value": s.value if s.value == s.value else None} for s in result.scores],
        "grid": grid,
        **({"classes": list(classes)} if classes else {}),
        "patterns": [_about(p) for p in result.predictions],
        "files": {name: sha256(folder / name) for name in PARTS if (folder / name).exists()},
        "record": dict(result.record),
    }
    (folder / CELL).write_text(_lines(content, 2), encoding="utf-8")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lines(value: Any, depth: int) -> str:
    """Sorted JSON with one line a key in the first levels; json's own indentation takes several times as long."""
    if depth and isinstance(value, dict) and value:
        return "{\n" + ",\n".join(f"{json.dumps(k)}: {_lines(value[k], depth - 1)}" for k in sorted(value)) + "\n}"
    return json.dumps(value, sort_keys=True)


def _about(p: PatternPrediction) -> dict[str, Any]:
    fields = {"split": p.split, "pattern": p.pattern, "draw": p.draw, "n_prior": p.n_prior, "realised": p.realised}
    has_s = isinstance(p.prediction, SurvivalPrediction) and p.prediction.survival is not None
    return fields | {"n": len(p.prediction.ids), "survival": has_s}


def survival_column(month: float) -> str:
    """The column of S at a month, with at most four decimals: `S_12`, `S_12.5`."""
    return f"S_{month:.4f}".rstrip("0").rstrip(".")


def _write_predictions(path: Path, predictions: tuple[PatternPrediction, ...]) -> list[float]:
    import numpy as np

    sizes = [len(p.prediction.ids) for p in predictions]
    columns: dict[str, Any] = {
        "split": _repeated([p.split for p in predictions], sizes),
        "pattern": _repeated([p.pattern for p in predictions], sizes),
        "draw": np.repeat([p.draw for p in predictions], sizes),
        "case": [i for p in predictions for i in p.prediction.ids],
    }
    numbers, grid = prediction_columns([p.prediction for p in predictions])
    _write_columns(path, columns | numbers)
    return grid


def probability_column(label: str) -> str:
    """The column of the probability of a class: `P(yes)`."""
    return f"P({label})"


def is_probability(column: str) -> bool:
    """Whether a column holds the probability of a class."""
    return column.startswith("P(") and column.endswith(")")


def prediction_columns(predictions: Sequence[Prediction]) -> tuple[dict[str, Any], list[float]]:
    """Columns of what is predicted, one row a case, and the times of S: the risk and S, or a probability a class."""
    import numpy as np

    if classes := predictions[0].classes:
        probability = np.concatenate([p.probability for p in predictions if isinstance(p, ClassPrediction)])
        return {probability_column(label): probability[:, i] for i, label in enumerate(classes)}, []
    known = [p for p in predictions if isinstance(p, SurvivalPrediction)]
    times = next((p.times for p in known if p.survival is not None), None)
    grid = [] if times is None else [float(t) for t in times]
    rows = [np.full((len(p.ids), len(grid)), np.nan) if p.survival is None else p.survival for p in known]
    survival = np.concatenate(rows)
    risk = np.concatenate([p.risk for p in known])
    return {"risk": risk, **{survival_column(t): survival[:, i] for i, t in enumerate(grid)}}, grid


def _repeated(words: Sequence[str], sizes: Sequence[int]) -> list[str]:
    return [word for word, n in zip(words, sizes, strict=True) for _ in range(n)]


def _write_history(path: Path, history: tuple[tuple[int, str, str, float], ...]) -> None:
    import numpy as np

    epoch, split, quantity, value = zip(*history, strict=True) if history else ((), (), (), ())
    numbers = {"epoch": np.array(epoch, dtype=np.int64), "value": np.array(value, dtype=np.float64)}
    columns = {"epoch": numbers["epoch"], "split": split, "quantity": quantity, "value": numbers["value"]}
    _write_columns(path, columns)


def _write_columns(path: Path, columns: Mapping[str, Any]) -> None:
    """Columns as pandas would write them: NaN is null, text has 64-bit offsets."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    arrays = {
        name: pa.array(of, from_pandas=True) if isinstance(of, np.ndarray) else pa.array(of, pa.large_string())
        for name, of in columns.items()
    }
    texts = [name for name, array in arrays.items() if pa.types.is_large_string(array.type)]
    parquet.write_table(pa.table(arrays), path, use_dictionary=texts)  # of numbers a dictionary is larger


def _write_arrays(path: Path, state: Mapping[str, Any]) -> None:
    import numpy as np
    from safetensors.numpy import save

    # Not `save_file`, whose error on a full disk is no OSError; not `ascontiguousarray`, which gives scalars an axis.
    path.write_bytes(save({name: np.asarray(array, order="C") for name, array in state.items()}))


def read_part(path: Path, reader: Callable[[Path], T]) -> T:
    """What `reader` makes of a file of a stored cell.

    Raises:
        ResultsError: it is missing or damaged.
    """
    from safetensors import SafetensorError

    try:
        return reader(path)
    except (OSError, ValueError, SafetensorError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise unreadable(path, error) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def read_table(path: Path) -> pa.Table:
    """A parquet file without what its writer says of itself."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        return file.read().replace_schema_metadata(None)


def frame_of(table: pa.Table) -> pd.DataFrame:
    """A table for pandas, its columns named as pandas names them."""
    frame: pd.DataFrame = table.to_pandas()
    frame.columns = frame.columns.astype("str")
    return frame


def read_arrays(path: Path) -> dict[str, Any]:
    """The named arrays of a safetensors file."""
    from safetensors.numpy import load

    return dict(load(path.read_bytes()))


def unreadable(path: Path | str, why: object) -> ResultsError:
    """The error of a cell's file that is missing, damaged or refused."""
    kind = AccessError if isinstance(why, PermissionError) else ResultsError
    return kind(file_problem(path, why, "remove the folder and run the suite again"))
