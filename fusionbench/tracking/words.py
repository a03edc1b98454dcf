"""What a run says, as plain values: a cell or table row in, names, params, tags and numbers out. No mlflow here."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from fusionbench.cells import Cell
from fusionbench.results import CellResult
from fusionbench.search import TRAIN
from fusionbench.suites import BASE

KIND, DIGEST, KEY = "fusionbench.kind", "fusionbench.digest", "fusionbench.key"
NOTE, PARENT = "mlflow.note.content", "mlflow.parentRunId"
ROW, FOLD = "row", "fold"

PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 500, 5000, 250
"""What MLflow servers of the last major versions take, the smallest of them."""

Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class Payload:
    """A run in full. `metrics` are (name, value, step); the step of a curve is its epoch, else 0."""

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[tuple[str, float, int], ...] = ()
    status: Literal["FINISHED", "FAILED"] = "FINISHED"
    seconds: float = 0.0

    @property
    def digest(self) -> str:
        """Equal for equal content: a replay that finds it writes nothing."""
        return _hash(json.dumps(asdict(self), sort_keys=True))

    @property
    def params_digest(self) -> str:
        """Of that part which can be written only once."""
        return _hash(json.dumps(dict(self.params), sort_keys=True))

    def lasting(self, seconds: float) -> Payload:
        return replace(self, seconds=seconds)


def row_payload(cell: Cell, suite: str, lock: Mapping[str, Any]) -> Payload:
    """The parent run of a cell's table row, before its table is known: the same for every fold of the row.

    Args:
        lock: the content of suite.lock.toml; read are `fusionbench`, `git_commit`, `models` (name to version),
            `model_plugins` (name to plugin, distribution and its version), `datasets` (as written, to version,
            fingerprint, plugin, ...) and `options` (model as written, to its resolved options). A key that it lacks
            is a tag or param less.
    """
    dataset, model, modalities, variant = cell.row
    versions, about = lock.get("models", {}), lock.get("datasets", {}).get(dataset, {})
    tags = _shared_tags(cell, suite, ROW) | {
        "mlflow.source.name": f"fusionbench run {suite}",
        # It may grow while finished folds stay valid; a param is written once.
        "protocol.repeats": str(cell.protocol.repeats),
        **_tags("dataset", {k: v for k, v in about.items() if isinstance(v, (str, int, float))}),
        **_tags("model", {"version": versions[cell.model.name]} if cell.model.name in versions else {}),
        **_tags("model", lock.get("model_plugins", {}).get(cell.model.name, {})),
        **_tags("", {k: lock[k] for k in ("fusionbench", "git_commit") if k in lock}),
    }
    name = " · ".join([model, dataset, modalities, *([variant] if variant != BASE else [])])
    return Payload(name, tags, _params(cell, lock.get("options", {}).get(model, {})))


def fold_payload(cell: Cell, suite: str, result: CellResult) -> Payload:
    """The child run of one cell: curves, scores, timings; a failure's reason as tag and description."""
    dataset, model, modalities, variant = cell.row
    record = result.record
    environment = record.get("environment", {})
    undefined = {_score_name(s.metric, s.pattern): s.reason for s in result.scores if not math.isfinite(s.value)}
    tags = _shared_tags(cell, suite, FOLD) | {
        KEY: cell.key,
        "repeat": str(cell.repeat),
        "fold": str(cell.fold),
        **_tags("", {k: environment[k] for k in ("device", "gpu") if k in environment}),
        **_tags("undefined", undefined),
        **({"reason": clipped(result.reason, TAG_LENGTH)} if result.reason else {}),
    }
    note = "\n".join([*([f"failed: {result.reason}"] if result.status == "failed" else []), *record.get("notes", [])])
    if note:
        tags[NOTE] = clipped(note, TAG_LENGTH)
    where = [f"repeat {cell.repeat} fold {cell.fold}", model, dataset, modalities, *([variant] * (variant != BASE))]
    return Payload(
        name=" · ".join(where),
        tags=tags,
        params={
            "repeat": str(cell.repeat),
            "fold": str(cell.fold),
            **{legal(f"tuned.{k}"): clipped(_text(v), PARAM_LENGTH) for k, v in cell.tuned},
        },
        metrics=tuple(_fold_metrics(result)),
        status="FAILED" if result.status == "failed" else "FINISHED",
        seconds=sum(record.get("seconds", {}).values()),
    )


def _fold_metrics(result: CellResult) -> Iterator[tuple[str, float, int]]:
    """Finite values only: MLflow keeps NaN as 0 and infinity as 1.8e308, so such a point is a gap in its curve."""
    record = result.record
    seconds = record.get("seconds", {})
    single = {
        **{_score_name(s.metric, s.pattern): s.value for s in result.scores},
        **{f"seconds/{k}": v for k, v in seconds.items()},
        **({"seconds/total": sum(seconds.values())} if seconds else {}),
        **{f"fit/{k}": v for k, v in record.get("fit", {}).items() if isinstance(v, (int, float))},
        **{name: record[name] for name in ("process_peak_memory_mib",) if name in record},
    }
    for name, value in single.items():
        if math.isfinite(value):
            yield legal(name), float(value), 0
    for epoch, split, quantity, value in result.history:
        if math.isfinite(value):
            yield legal(f"{split}/{quantity}"), float(value), int(epoch)


def table_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """mean, sd and interval of one table row per metric and pattern, and how many folds stand behind them."""
    values: dict[str, float] = {}
    for row in rows:
        name = _score_name(row["metric"], row["pattern"])
        values |= {f"{name}.{part}": float(row[part]) for part in ("mean", "sd", "ci_low", "ci_high")}
    first = rows[0]
    return values | {part: float(first[part]) for part in ("n_folds", "n_failed", "n_skipped")}


def table_line(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line of result: every metric on full test cases."""
    full = [r for r in rows if r["pattern"] == "full"] or list(rows)[:1]
    n_folds, n_failed, n_skipped = (int(full[0][n]) for n in ("n_folds", "n_failed", "n_skipped"))
    more = [f"{n} {what}" for n, what in ((n_failed, "failed"), (n_skipped, "skipped")) if n]
    return "; ".join(f"{r['metric']} {_number(r)}" for r in full) + f" ({', '.join([f'{n_folds} folds', *more])})"


def table_note(title: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """A suite's description: its title and as much of its table as a description holds."""
    columns = ("dataset", "model", "modalities", "variant", "pattern", "metric")
    head = [title, "", f"| {' | '.join(columns)} | mean ± sd [95 % interval] |", "|" + "---|" * (len(columns) + 1)]
    body = ["| " + " | ".join([*(str(r[c]).replace("|", r"\|") for c in columns), _number(r)]) + " |" for r in rows]
    rest, room = "\n\n… and more: see table.md of the results", TAG_LENGTH - len("\n".join(head))
    if sum(len(line) + 1 for line in body) > room:
        room -= len(rest)
        while sum(len(line) + 1 for line in body) > room:
            body.pop()
        return "\n".join([*head, *body]) + rest
    return "\n".join([*head, *body])


def legal(name: str) -> str:
    """`name` as MLflow takes it on every system: `only:omic` becomes `only-omic`.

    Any further change is told by a hash at the end, so that two names stay two.
    """
    dashed = name.replace(":", "-")
    clean = "/".join(
        p for p in re.sub(r"[^\w.\- /]", "_", dashed, flags=re.ASCII).split("/") if p not in ("", ".", "..")
    )
    if clean and clean == dashed and len(clean) <= NAME_LENGTH:
        return clean
    return f"{clean[: NAME_LENGTH - 9]}-{_hash(name)[:8]}"


def clipped(text: str, length: int) -> str:
    """`text`, or its beginning and a hash of the whole where it is longer than `length`."""
    if len(text) <= length:
        return text
    end = f"… sha256:{_hash(text)[:12]}"
    return text[: length - len(end)] + end


def row_of(named: Mapping[str, Any]) -> Row:
    """The table row that a run's tags, or a line of table.csv, name."""
    return str(named["dataset"]), str(named["model"]), str(named["modalities"]), str(named["variant"])


def _shared_tags(cell: Cell, suite: str, kind: str) -> dict[str, str]:
    dataset, model, modalities, variant = cell.row
    named = {"dataset": dataset, "model": model, "modalities": modalities, "variant": variant}
    about = {"suite": suite, "protocol": cell.protocol.base, "train_pattern": cell.protocol.train_pattern}
    return {KIND: kind, **about, **named, **({"policy": cell.policy} if cell.policy else {})}


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
    return {legal(k): clipped(_text(v), PARAM_LENGTH) for k, v in options.items()}


def _tags(prefix: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {legal(f"{prefix}.{k}" if prefix else k): clipped(_text(v), TAG_LENGTH) for k, v in values.items()}


def _score_name(metric: str, pattern: str) -> str:
    return legal(metric if pattern == "full" else f"{metric}.{pattern}")


def _number(row: Mapping[str, Any]) -> str:
    """mean ± sd [interval], as far as there is one."""
    if math.isnan(row["mean"]):
        return "undefined"
    spread = "" if math.isnan(row["sd"]) else f" ± {row['sd']:.3f}"
    return f"{row['mean']:.3f}{spread}" + (
        "" if math.isnan(row["ci_low"]) else f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    )


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
