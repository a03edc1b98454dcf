"""Tidy frames of a suite's results, from its plan and its store; tables, tracking and publishing are views of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fusionbench.core.endpoints import ClassTarget
from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.results.cell_files import frame_of, probability_column
from fusionbench.results.store import Store
from fusionbench.suites.cell import Cell, Plan
from fusionbench.tasks.threshold import best_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from fusionbench.core.types import Case, Target
    from fusionbench.data.cohort import Cohort

    Cohorts = Mapping[tuple[str, str], Cohort]
TEXTS = ("cells", "folds", "targets", "sizes")
BINARIES = ("predictions", "splits", "history")
EXTERNAL = "external_"
"""Before the names of the files of `Frames.external`."""
EXTERNAL_FILES = (*(f"{EXTERNAL}{name}.csv" for name in TEXTS), f"{EXTERNAL}predictions.parquet")
_DTYPES = {"case": str, "group": str, "key": str, "source": str, "git_commit": str}
"""Ids, keys and commits that look like numbers stay text."""

ROW = ["dataset", "model", "modalities", "variant"]
PLACE = [*ROW, "repeat", "fold"]
CELL_COLUMNS = [*PLACE, "protocol", "status", "reason", "policy", "tuned", "train_pattern", "unit", "key", "n_inputs"]
COST_COLUMNS = ["fit_seconds", "n_parameters", "process_peak_mib"]
PREPARATION = "preparation_seconds"
"""After COST_COLUMNS, where some model has something prepared: what that took where it was computed."""
CODE_COLUMNS = ["source", "git_commit"]
"""COST_COLUMNS and CODE_COLUMNS: of cells, after CELL_COLUMNS; absent from what was stored before they were."""
OWN_RECIPE = "own recipe"
"""In the column `tuned` of the cells: the model's own recipe in the place of the suite's."""
THRESHOLD = "threshold"
"""Last column of the cells, where some dataset has two classes."""

FOLD_COLUMNS = [*PLACE, "pattern", "metric", "value", "reason", "n_cases", "n_prior", "realised"]
HISTORY_COLUMNS = [*PLACE, "epoch", "split", "quantity", "value"]
TARGET_COLUMNS = ["dataset", "case", "group", "time", "event", "modalities"]
LABEL = "label"
"""Column of the targets, before the modalities, where some dataset has classes."""
SPLIT_COLUMNS = ["dataset", "variant", "repeat", "fold", "case", "part"]
SIZE_COLUMNS = ["dataset", "variant", "repeat", "fold", "n_train", "n_test", "fold_source", "sd_ddof"]


@dataclass(frozen=True)
class Frames:
    """What is known of a suite, tidy.

    Attributes:
        cells: one row per listed cell; status ok, failed, skipped or missing (not run yet). `n_inputs` is the number of
            modalities its model was given: joined vectors are one; COST_COLUMNS say what a cell that ran has cost,
            CODE_COLUMNS which code computed it: distribution, version and checksum of the model's plugin, and the
            commit of fusionbench, both empty where unknown. Where some dataset has two classes also `threshold`, from
            which probability a case counts as positive, chosen on the cell's validation cases (`best_threshold`).
        folds: one row per cell, pattern and metric; `realised` is the share of (case, modality) pairs hidden or absent.
        predictions: test predictions of every listed cell: risk, and S_<month> on the dataset's grid; or the
            probability of each class.
        targets: dataset, case, group, time (months), event, and the modalities that the case has, joined with +; where
            some dataset has classes also `label`, the case's class.
        sizes: cases in train (with validation) and test of every fold.
        splits: which cases stand in which part of which fold.
        history: what every listed cell logged, epoch by epoch: losses, validation c-index, learning rate.
        external: the same of the cells that predict other cohorts; their dataset is `TRAIN -> TEST`. Every case of the
            cohort is predicted, the targets are of those with an outcome, the splits and the history are empty. None
            where the suite has no such cell.
    """

    cells: pd.DataFrame
    folds: pd.DataFrame
    predictions: pd.DataFrame
    targets: pd.DataFrame
    sizes: pd.DataFrame
    splits: pd.DataFrame
    history: pd.DataFrame
    external: Frames | None = None


def collect(plan: Plan, store: Store, cohorts: Cohorts, external: Cohorts, versions: Mapping[str, str]) -> Frames:
    """Read everything that the plan's listed cells, and those on external cohorts, have left behind.

    Args:
        cohorts: that models are fitted on, by dataset as written (`str(ref)`) and unit.
        external: that they predict besides, by `TRAIN -> TEST` and unit.
        versions: of the metrics installed; a cell scored by others counts as not run.
    """
    frames = _collect(plan.listed, store, cohorts, versions)
    if not plan.external:
        return frames
    outside = _collect(plan.external, store, external, versions)
    scored = outside.targets.groupby("dataset").size()
    sizes = outside.sizes.assign(n_test=outside.sizes["dataset"].map(scored).fillna(0).astype(int))
    return replace(frames, external=replace(outside, sizes=sizes, splits=outside.splits.iloc[:0]))


def _collect(listed: Sequence[Cell], store: Store, cohorts: Cohorts, versions: Mapping[str, str]) -> Frames:
    cells, folds, predictions, history = [], [], [], []
    # What a model of classes predicts of another cohort has no validation cases to choose a threshold on.
    binary = any(len(c.task.classes) == 2 and c.external is None for c in listed)
    for cell in listed:
        record = None if cell.skip else store.finished(cell, versions)
        row = _cell_row(cell, record)
        if record is not None and record["status"] == "ok":
            folds += _fold_rows(cell, record)
            predicted = store.predictions_table(cell.key)
            if binary:
                row[THRESHOLD] = _threshold(predicted, cohorts[str(cell.dataset), cell.protocol.unit])
            predictions.append((cell, _of_split(predicted, "test")))
            history.append((cell, store.history_table(cell.key)))
        cells.append(row)
    costs = [*COST_COLUMNS, *([PREPARATION] if any(PREPARATION in row for row in cells) else [])]
    columns = [*CELL_COLUMNS, *costs, *CODE_COLUMNS, *([THRESHOLD] if binary else [])]
    return Frames(
        cells=pd.DataFrame(cells, columns=columns),
        folds=pd.DataFrame(folds, columns=FOLD_COLUMNS).astype({"value": "float64"}),
        predictions=_placed(predictions, [*PLACE, "pattern", "draw", "case", "risk"]),
        targets=_targets(cohorts),
        sizes=_sizes(listed),
        splits=_splits(listed),
        history=_placed(history, HISTORY_COLUMNS),
    )


def write_frames(frames: Frames, store: Store) -> None:
    """The frames as files of the suite's folder; tables and comparisons can be made from them alone."""
    for name in TEXTS:
        store.write_text(f"{name}.csv", getattr(frames, name).to_csv(index=False))
    for name in BINARIES:
        store.write_frame(f"{name}.parquet", getattr(frames, name))
    for name in EXTERNAL_FILES:
        if frames.external is None:
            store.remove(name)  # of an earlier run, when the suite had external cohorts
        elif name.endswith(".csv"):
            store.write_text(name, getattr(frames.external, _frame_name(name)).to_csv(index=False))
        else:
            store.write_frame(name, getattr(frames.external, _frame_name(name)))


def _frame_name(file: str) -> str:
    return file.removeprefix(EXTERNAL).partition(".")[0]


def read_frames(folder: Path) -> Frames:
    """The inverse of `write_frames`.

    Raises:
        ResultsError: a file is missing or damaged.
    """
    frames = _read_frames(folder)
    return replace(frames, external=_read_frames(folder, EXTERNAL)) if has_external(folder) else frames


def has_external(folder: Path) -> bool:
    """Whether results have `Frames.external`."""
    return (folder / EXTERNAL_FILES[0]).exists()


def with_outcome(predictions: pd.DataFrame, targets: pd.DataFrame) -> pd.DataFrame:
    """The predictions of cases that have a target; none where there are no predictions yet."""
    known = set(zip(targets["dataset"].astype(str), targets["case"].astype(str), strict=True))
    places = zip(predictions["dataset"].astype(str), predictions["case"].astype(str), strict=True)
    return predictions[np.array([place in known for place in places], dtype=bool)]


def _read_frames(folder: Path, prefix: str = "") -> Frames:
    read = {name: _read(folder / f"{prefix}{name}.csv") for name in TEXTS}
    read |= {name: _read(folder / f"{prefix}{name}.parquet") for name in BINARIES}
    for name in {"value", "realised"} & set(read["folds"].columns):
        read["folds"][name] = pd.to_numeric(read["folds"][name], errors="coerce")
    if THRESHOLD in read["cells"].columns:
        read["cells"][THRESHOLD] = pd.to_numeric(read["cells"][THRESHOLD], errors="coerce")
    targets = read["targets"]
    if LABEL in targets.columns:  # cases with a class have no follow-up, so that those of others are read as text
        flags = {"True": True, "False": False, "": None}
        follow_up = {"time": pd.to_numeric(targets["time"], errors="coerce"), "event": targets["event"].map(flags)}
        read["targets"] = targets.assign(**follow_up)
    return Frames(external=None, **read)


def _read(path: Path) -> pd.DataFrame:
    if path.name.endswith("history.parquet") and not path.exists():
        return pd.DataFrame(columns=HISTORY_COLUMNS)  # published before curves were, or of external cohorts
    if path.name == f"{EXTERNAL}splits.parquet":
        return pd.DataFrame(columns=SPLIT_COLUMNS)
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=_DTYPES, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise ResultsError(file_problem(path, error, "run or publish the suite again")) from error


def _cell_row(cell: Cell, record: Mapping[str, Any] | None) -> dict[str, Any]:
    status, reason = ("missing", "not run yet") if record is None else (record["status"], record["reason"])
    if cell.skip:
        status, reason = "skipped", cell.skip
    return {
        **cell.columns,
        "protocol": cell.protocol.label,
        "status": status,
        "reason": reason,
        "policy": cell.policy,
        "tuned": _settings(cell),
        "train_pattern": cell.protocol.train_pattern,
        "unit": cell.protocol.unit,
        "key": cell.key,
        "n_inputs": len(cell.modalities),
        **_costs(record or {}),
        **_code(record or {}),
    }


def _settings(cell: Cell) -> str:
    """Where the settings that a cell was trained with come from."""
    found = [name for name, so in ((OWN_RECIPE, cell.own_recipe), ("tuned", bool(cell.tuned))) if so]
    return ", ".join(found) or "default"


def _code(record: Mapping[str, Any]) -> dict[str, str]:
    """CODE_COLUMNS of a cell."""
    about = record.get("record", {})
    source = about.get("source")
    text = f"{source['distribution']} {source['version']} sha256:{source['sha256'][:16]}" if source else ""
    return dict(zip(CODE_COLUMNS, (text, about.get("git_commit", "")), strict=True))


def _costs(record: Mapping[str, Any]) -> dict[str, float | None]:
    """COST_COLUMNS, and PREPARATION of a cell that had something prepared; None where a cell did not come to them.

    Memory is of the process, with all it had run before.
    """
    about = record.get("record", {})
    known = (
        about.get("seconds", {}).get("fit"),
        about.get("fit", {}).get("parameters"),
        about.get("process_peak_memory_mib"),
    )
    prepared = [one["seconds"] for one in about.get("preparations", ())]
    return dict(zip(COST_COLUMNS, known, strict=True)) | ({PREPARATION: math.fsum(prepared)} if prepared else {})


def _fold_rows(cell: Cell, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    hidden: dict[str, list[float]] = {}
    for p in record["patterns"]:
        if p["split"] == "test":
            hidden.setdefault(p["pattern"], []).append(p["realised"])
    realised = {pattern: fmean(of_draws) for pattern, of_draws in hidden.items()}
    scores = (score for score in record["scores"] if score["metric"] in cell.metrics)
    return [{**cell.columns, **score, "realised": realised.get(score["pattern"])} for score in scores]


def _of_split(predictions: pa.Table, split: str) -> pa.Table:
    """The rows of the test cases or of the validation cases (`val`)."""
    import pyarrow.compute as pc

    return predictions.filter(pc.equal(predictions["split"], split)).drop_columns("split")


def _threshold(predictions: pa.Table, cohort: Cohort) -> float:
    """THRESHOLD of a cell; NaN where its endpoint has not two classes."""
    classes = cohort.info.classes
    if len(classes) != 2:
        return float("nan")
    validation = _of_split(predictions, "val")
    positive = [cohort.targets[case] == ClassTarget(classes[1]) for case in validation["case"].to_pylist()]
    return best_threshold(np.array(positive, dtype=bool), validation[probability_column(classes[1])].to_numpy())


def _placed(parts: Sequence[tuple[Cell, pa.Table]], columns: Sequence[str]) -> pd.DataFrame:
    """The cells' tables below one another, with each cell's row, repeat and fold as their first columns."""
    import pyarrow as pa

    if not parts:
        return pd.DataFrame(columns=list(columns))
    below = pa.concat_tables([table for _, table in parts], promote_options="permissive")
    of_cell = pa.array(np.repeat(np.arange(len(parts)), [table.num_rows for _, table in parts]))
    for i, name in enumerate(PLACE):
        values = [cell.columns[name] for cell, _ in parts]
        texts = pa.large_string() if isinstance(values[0], str) else pa.int64()
        below = below.add_column(i, name, pa.array(values, texts).take(of_cell))
    return frame_of(below)


def _targets(cohorts: Cohorts) -> pd.DataFrame:
    rows = [
        (name, case.id, case.group, *_outcome(case.target), "+".join(_having(case, cohort)))
        for (name, _), cohort in cohorts.items()
        for case in cohort.cases
        if case.target is not None
    ]
    # a case may be known by one name as a patient and as a slide; its outcome is the same
    columns = [*TARGET_COLUMNS[:-1], LABEL, TARGET_COLUMNS[-1]]
    frame = pd.DataFrame(rows, columns=columns).drop_duplicates(columns[:-1], ignore_index=True)
    if not (frame[LABEL] == "").all():
        return frame
    return frame.drop(columns=LABEL)  # suites of survival alone have no such column


def _outcome(target: Target) -> tuple[object, object, str]:
    """Time, event and class of a case: of the two kinds of endpoints one is empty."""
    if isinstance(target, ClassTarget):
        return None, None, target.label
    return target.time, target.event, ""


def _having(case: Case, cohort: Cohort) -> Iterator[str]:
    return (name for name in cohort.info.modalities if name in case.refs)


def _folds_once(cells: Sequence[Cell]) -> dict[tuple[Any, ...], Cell]:
    return {(c.row[0], c.variant, c.repeat, c.fold): c for c in cells}


def _sizes(cells: Sequence[Cell]) -> pd.DataFrame:
    rows = [
        (*place, len(c.split.train) + len(c.split.val), len(c.split.test), c.protocol.fold_source, c.protocol.sd_ddof)
        for place, c in _folds_once(cells).items()
    ]
    return pd.DataFrame(rows, columns=SIZE_COLUMNS)


def _splits(cells: Sequence[Cell]) -> pd.DataFrame:
    rows: dict[str, list[Any]] = {name: [] for name in (*SIZE_COLUMNS[:4], "case", "part")}
    for place, c in _folds_once(cells).items():
        for part, ids in (("train", c.split.train), ("val", c.split.val), ("test", c.split.test)):
            for name, value in zip(SIZE_COLUMNS[:4], place, strict=True):
                rows[name] += [value] * len(ids)
            rows["case"] += ids
            rows["part"] += [part] * len(ids)
    return pd.DataFrame(rows)
