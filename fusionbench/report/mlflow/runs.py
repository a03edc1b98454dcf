"""The runs of one MLflow experiment: found, made, written, superseded, ended. What they mean is the tracker's."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusionbench.core.errors import ResultsError
from fusionbench.report.mlflow.client import Connection, entities
from fusionbench.report.mlflow.experiment import Experiment
from fusionbench.report.mlflow.owner import ROOT, Owner
from fusionbench.report.mlflow.payload import DIGEST, KIND, NOTE, SUITE, DatasetUse, Payload, Point

PAGE = 100  # runs a request of what is there already; more might not arrive within the connection's patience
METRICS, PARAMS = 250, 90  # a request: what a slow server takes within that patience; MLflow's limits are higher
CONTEXT = "train, validation, test"
SUPERSEDED = "fusionbench.superseded_by"
SEVERAL = (
    f"Runs of several results roots, told apart by their tag `{ROOT}`: the table of each is the description of its run "
    f"with the tag `{KIND}` = `{SUITE}`."
)
ENDED = frozenset({"FINISHED", "FAILED"})


@dataclass
class Run:
    """What is known of an active run; `start` and `end` in milliseconds since 1970."""

    id: str
    tags: dict[str, str]
    start: int
    metrics: dict[str, float] = field(default_factory=dict)
    status: str = "RUNNING"
    end: int = 0

    def holds(self, digest: str) -> bool:
        """Whether it was written whole, with this content."""
        return self.tags.get(DIGEST) == digest


class Runs:
    """The runs of one owner in a suite's experiment; another's are never touched."""

    def __init__(self, connection: Connection, experiment: Experiment, owner: Owner) -> None:
        """What the methods raise is a TrackingError, whenever the server, the store or its folder fails."""
        self._connection, self._call, self.owner = connection, connection.call, owner
        self.experiment, self._artifacts = experiment.id, experiment.artifacts

    def stored(self) -> list[Run]:
        """The owner's active runs, oldest first."""
        found: list[Run] = []
        token: str | None = ""
        while token is not None:
            page = self._call(
                "search_runs",
                [self.experiment],
                f"tags.`{ROOT}` = '{self.owner.root}'",
                max_results=PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token or None,
            )
            found += [_run(listed) for listed in page]
            token = page.token or None
        # Restored with their experiment, or interrupted between mark and deletion. (A deletion moves later pages.)
        for run in [r for r in found if SUPERSEDED in r.tags]:
            self._call("delete_run", run.id)
        return [r for r in found if SUPERSEDED not in r.tags]

    def create(self, payload: Payload, tags: Mapping[str, str], digest: str) -> Run:
        """A run with all its content; the digest comes last, so that it vouches for the rest."""
        start = _now() - round(payload.seconds * 1000)
        tags = {**payload.tags, **tags, **self.owner.tags}
        run = Run(self._call("create_run", self.experiment, start, tags, payload.name).info.run_id, tags, start)
        if payload.dataset is not None:
            self._call("log_inputs", run.id, [_dataset_input(payload.dataset)])
        for name, text in payload.texts.items():
            self._file("put_text", run.id, name, text)
        self.write(run, {DIGEST: digest}, payload.metrics, payload.params)
        return run

    def write(
        self,
        run: Run,
        tags: Mapping[str, str],
        metrics: tuple[Point, ...] = (),
        params: Mapping[str, str] | None = None,
    ) -> None:
        """Metrics, params and last the tags; in one request as a rule."""
        kinds, now = entities(), _now()
        values = [
            kinds.Metric(p.name, p.value, now if p.seconds is None else run.start + round(1000 * p.seconds), p.step)
            for p in metrics
        ]
        options = [kinds.Param(k, v) for k, v in (params or {}).items()]
        requests = max(1, -(-len(values) // METRICS), -(-len(options) // PARAMS))
        for i in range(requests):
            self._call(
                "log_batch",
                run.id,
                values[i * METRICS : (i + 1) * METRICS],
                options[i * PARAMS : (i + 1) * PARAMS],
                [kinds.RunTag(k, v) for k, v in tags.items()] if i == requests - 1 else [],
                synchronous=True,
            )
        run.tags |= tags

    def upload(self, run: Run, name: str, path: Path) -> None:
        """A file under `name`, which may have folders."""
        self._file("put", run.id, name, path)

    def files(self, run: Run) -> set[str]:
        """Names of the files that a run holds."""
        return set(self._file("names", run.id))

    def _file(self, method: str, *args: Any) -> Any:
        try:
            return getattr(self._artifacts, method)(*args)
        except ResultsError as error:
            raise self._connection.failed(f"failed ({error})") from error

    def supersede(self, run: Run, key: str) -> None:
        """Mark a run as replaced and delete it the way the web page does: it can be looked at and restored there."""
        self._call("set_tag", run.id, SUPERSEDED, key)
        self._call("delete_run", run.id)

    def end(self, run: Run, status: str, end: int) -> None:
        """Close a run; `end` in milliseconds since 1970."""
        if (run.status, run.end) != (status, end):
            run.status, run.end = status, end
            self._call("set_terminated", run.id, status, run.end)

    def describe(self, title: str, text: str) -> None:
        """The description of the experiment: `text`, or where each owner's table is, if there are several."""
        others = self._call(
            "search_runs",
            [self.experiment],
            f"tags.`{KIND}` = '{SUITE}' and tags.`{ROOT}` != '{self.owner.root}'",
            max_results=1,
        )
        self._call("set_experiment_tag", self.experiment, NOTE, f"{title}\n\n{SEVERAL}" if others else text)


def _run(listed: Any) -> Run:
    about, data = listed.info, listed.data
    end = about.end_time or 0
    return Run(about.run_id, dict(data.tags), about.start_time, dict(data.metrics), about.status, end)


def _dataset_input(use: DatasetUse) -> Any:
    """A cohort as `mlflow.data` would describe it; what its files are is the lock's to say."""
    kinds = entities()
    source = json.dumps({"tags": {"mlflow.source.name": shlex.join(["fusionbench", "data", "check", use.name])}})
    dataset = kinds.Dataset(use.name, use.digest, "code", source, profile=use.profile)
    return kinds.DatasetInput(dataset, [kinds.InputTag("mlflow.data.context", CONTEXT)])


def _now() -> int:
    return round(time.time() * 1000)
