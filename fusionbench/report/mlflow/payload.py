"""Content of MLflow runs as plain values: names, params, tags and metrics of a cell or table row; loads no mlflow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from fusionbench.core.cell_result import CellResult
from fusionbench.core.search_space import TRAIN
from fusionbench.report.mlflow.names import (
    DATASET_DIGEST,
    PARAM_LENGTH,
    TAG_LENGTH,
    clipped,
    legal,
    score_name,
    sha256,
    text,
)
from fusionbench.suites.cell import Cell
from fusionbench.suites.suite import BASE

KIND, DIGEST, KEY = "fusionbench.kind", "fusionbench.digest", "fusionbench.key"
NOTE, PARENT = "mlflow.note.content", "mlflow.parentRunId"
COMMIT, SOURCE_COMMIT = "git_commit", "mlflow.source.git.commit"
ROW, FOLD, SUITE = "row", "fold", "suite"
SYSTEM, TRACEBACK = "system", "traceback.txt"
BROUGHT_BY = ("plugin", "distribution", "distribution_version")


class Point(NamedTuple):
    """One value of a metric; the step of a curve is its epoch, else 0.

    Attributes:
        seconds: since the run began; None where that was not recorded.
    """

    name: str
    value: float
    step: int = 0
    seconds: float | None = None


class DatasetUse(NamedTuple):
    """A cohort as MLflow lists it; `profile` is JSON."""

    name: str
    digest: str
    profile: str = "{}"


@dataclass(frozen=True)
class Payload:
    """A run in full; `texts` are small files by name."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[Point, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    dataset: DatasetUse | None = None
    status: Literal["FINISHED", "FAILED"] = "FINISHED"
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Equal for equal content, in whatever order it was read back: a replay that finds it writes nothing."""
        points = sorted(self.metrics, key=lambda point: (point.name, point.step))
        content = asdict(self) | {"name": "", "metrics": points}  # the name only labels it
        return sha256(json.dumps(content, sort_keys=True))

    @property
    def once_digest(self) -> str:
        """Of that part which can be written only once: params and the dataset."""
        return sha256(json.dumps([dict(self.params), self.dataset and self.dataset.digest], sort_keys=True))


def row_payload(cell: Cell, suite: str, lock: Mapping[str, Any]) -> Payload:
    """The parent run of a cell's table row, before its table is known: the same for every fold of the row.

    Args:
        lock: the content of suite.lock.toml; read are `fusionbench`, `model_plugins` (name to plugin, distribution
            and its version), `datasets` (as written, to the same, its title and counts) and `options` (model as
            written, to its resolved options). A key that it lacks is a tag or param less.
    """
    dataset, model, *_ = cell.row
    about = lock.get("datasets", {}).get(dataset, {})
    tags = _shared_tags(cell, suite, ROW) | {
        # It may grow while finished folds stay valid; a param is written once.
        "protocol.repeats": str(cell.protocol.repeats),
        **_tags("dataset", {k: about[k] for k in BROUGHT_BY if k in about}),
        **_tags("model", lock.get("model_plugins", {}).get(cell.model.name, {})),
        **_tags("", {k: lock[k] for k in ("fusionbench",) if k in lock}),
    }
    params = _params(cell, lock.get("options", {}).get(model, {}))
    return Payload(_name(cell, lock), tags, params, dataset=_dataset(cell, about))


def fold_payload(cell: Cell, suite: str, result: CellResult, lock: Mapping[str, Any]) -> Payload:
    """The child run of one cell: curves, scores, timings; a failure's reason as tag, description and traceback.

    Args:
        lock: as in `row_payload`.
    """
    record = result.record
    environment = record.get("environment", {})
    undefined = {score_name(s.metric, s.pattern): s.reason for s in result.scores if not math.isfinite(s.value)}
    tags = _shared_tags(cell, suite, FOLD) | {
        KEY: cell.key,
        "repeat": str(cell.repeat),
        "fold": str(cell.fold),
        **_tags("", {k: environment[k] for k in ("device", "gpu") if k in environment}),
        **({COMMIT: record[COMMIT], SOURCE_COMMIT: record[COMMIT]} if record.get(COMMIT) else {}),
        **_tags("undefined", undefined),
        **({"reason": clipped(result.reason, TAG_LENGTH)} if result.reason else {}),
    }
    note = "\n".join([*([f"failed: {result.reason}"] if result.status == "failed" else []), *record.get("notes", [])])
    if note:
        tags[NOTE] = clipped(note, TAG_LENGTH)
    return Payload(
        name=f"{_name(cell, lock)} · repeat {cell.repeat} fold {cell.fold}",
        tags=tags,
        params={
            "repeat": str(cell.repeat),
            "fold": str(cell.fold),
            **{legal(f"tuned.{k}"): clipped(text(v), PARAM_LENGTH) for k, v in cell.tuned},
        },
        metrics=(*_fold_metrics(result), *_samples(record.get("system_samples", ()))),
        texts={TRACEBACK: record["traceback"]} if "traceback" in record else {},
        dataset=_dataset(cell, {"title": lock.get("datasets", {}).get(str(cell.dataset), {}).get("title", "")}),
        status="FAILED" if result.status == "failed" else "FINISHED",
        seconds=math.fsum(record.get("seconds", {}).values()),
    )


def suite_payload(suite: str, owner: str, note: str) -> Payload:
    """The run that holds the files of a suite's results in one results root; `owner` says whose."""
    note = clipped(f"Results of {owner}.\n\n{note}", TAG_LENGTH)
    tags = {KIND: SUITE, "suite": suite, NOTE: note}
    return Payload(f"{suite}: table, figures, report ({owner})", tags)


def commit_tags(folds: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Which commits a row's folds were computed with, by the tags of the folds."""
    found = sorted({tags[COMMIT] for tags in folds if COMMIT in tags})
    single = {SOURCE_COMMIT: found[0]} if len(found) == 1 else {}
    return {COMMIT: clipped(", ".join(found), TAG_LENGTH), **single} if found else {}


def _fold_metrics(result: CellResult) -> Iterator[Point]:
    """Finite values only: MLflow keeps NaN as 0 and infinity as 1.8e308, so such a point is a gap in its curve."""
    record = result.record
    seconds = record.get("seconds", {})
    single = {
        **{score_name(s.metric, s.pattern): s.value for s in result.scores},
        **{f"seconds/{k}": v for k, v in seconds.items()},
        **({"seconds/total": math.fsum(seconds.values())} if seconds else {}),
        **{f"fit/{k}": v for k, v in record.get("fit", {}).items() if isinstance(v, (int, float))},
        **{f"{SYSTEM}/{name}": record[name] for name in ("process_peak_memory_mib",) if name in record},
    }
    for name, value in single.items():
        if math.isfinite(value):
            yield Point(legal(name), float(value))
    for epoch, split, quantity, value in result.history:
        if math.isfinite(value):
            yield Point(legal(f"{split}/{quantity}"), float(value), int(epoch))


def _samples(measured: Sequence[Sequence[float]]) -> Iterator[Point]:
    """What the web page shows as system metrics of a run, from (seconds, CPU seconds so far, MiB) of its process."""
    before = spent = 0.0
    for step, (seconds, cpu, mib) in enumerate(measured):
        yield Point(f"{SYSTEM}/process_memory_mib", mib, step, seconds)
        yield Point(f"{SYSTEM}/process_cpu_seconds", cpu, step, seconds)
        if seconds > before:  # 100 is one core
            yield Point(f"{SYSTEM}/process_cpu_percent", 100 * (cpu - spent) / (seconds - before), step, seconds)
        before, spent = seconds, cpu


def _shared_tags(cell: Cell, suite: str, kind: str) -> dict[str, str]:
    dataset, model, modalities, variant = cell.row
    named = {"dataset": dataset, "model": model, "modalities": modalities, "variant": variant}
    about = {
        "suite": suite,
        "protocol": cell.protocol.base,
        "train_pattern": cell.protocol.train_pattern,
        "test_patterns": ", ".join(cell.patterns),
    }
    classes = {"task": cell.task.kind, "classes": ", ".join(cell.task.classes)} if cell.task.classes else {}
    of_plugins = {
        f"{kind}.{name}": cell.ingredients[kind][name]
        for kind, name in (("dataset", "version"), ("dataset", "fingerprint"), ("model", "version"))
        if name in cell.ingredients.get(kind, {})  # the true hazards' row is no plugin's
    }
    return {KIND: kind, **about, **named, **({"policy": cell.policy} if cell.policy else {}), **classes, **of_plugins}


def _name(cell: Cell, lock: Mapping[str, Any]) -> str:
    """Model and modalities first: MLflow's page cuts long names. The cohort is named where the suite has several."""
    dataset, model, modalities, variant = cell.row
    datasets = lock.get("datasets", {})
    title = datasets.get(dataset, {}).get("title", dataset)
    return " · ".join([model, modalities, *([variant] * (variant != BASE)), *([title] * (len(datasets) > 1))])


def _dataset(cell: Cell, about: Mapping[str, Any]) -> DatasetUse | None:
    """The cohort by title and digest, the beginning of its fingerprint; `about` as in the lock."""
    fingerprint = cell.ingredients.get("dataset", {}).get("fingerprint")
    if fingerprint is None:
        return None
    counts = about.get("counts", {}).get(cell.unit, {})
    profile = {"num_rows" if k == "cases" else k: v for k, v in counts.items() if isinstance(v, int)}
    name = clipped(about.get("title") or str(cell.dataset), PARAM_LENGTH)
    return DatasetUse(name, fingerprint[:DATASET_DIGEST], json.dumps(profile))


def _params(cell: Cell, resolved: Mapping[str, Any]) -> dict[str, str]:
    options = {
        "seed": cell.seed,
        "tau": cell.tau,
        **({"skip": cell.skip} if cell.skip else {}),  # a param, so that a row that no longer skips is a new run
        **{f"model.{k}": v for k, v in {**resolved, **dict(cell.model.options)}.items()},
        **{f"train.{k}": v for k, v in cell.recipe.model_dump(mode="json").items()},
        **{f"protocol.{k}": v for k, v in cell.protocol.model_dump(mode="json").items() if k != "repeats"},
    }
    # Found fold by fold, so that the row's run cannot say which; each fold's does.
    options |= {name if name.startswith(TRAIN) else f"model.{name}": "tuned" for name, _ in cell.tuned}
    return {legal(k): clipped(text(v), PARAM_LENGTH) for k, v in options.items()}


def _tags(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {legal(f"{prefix}.{k}" if prefix else k): clipped(text(v), TAG_LENGTH) for k, v in values.items()}
