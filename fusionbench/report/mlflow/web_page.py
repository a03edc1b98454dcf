"""MLflow's web page on a results root's runs: served while wanted, and the addresses that show a suite's rows."""

from __future__ import annotations

import errno
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from fusionbench.report.mlflow.client import Connection, TrackingError
from fusionbench.report.mlflow.owner import ROOT, read_root_id
from fusionbench.report.mlflow.payload import KIND, ROW
from fusionbench.suites.cell import ORACLE
from fusionbench.suites.suite import BASE

ANYWHERE = ("0.0.0.0", "::")
"""Addresses that mean every interface: one can listen there, and connect to none of them everywhere."""
NEXT_PORTS = 100
START_SECONDS, _PAUSE = 120.0, 0.2
_WITH_PARENT = (
    "import os, sys; from fusionbench.core.child_process import end_with_parent; end_with_parent(os.dup(0)); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Becomes the program that its arguments name, which ends when the other end of its standard input is closed."""


@dataclass(frozen=True)
class Order:
    """What a suite's rows are sorted by: its first metric on full test cases.

    Attributes:
        higher_is_better: None for a metric without direction, whose rows are sorted from high to low.
    """

    metric: str
    higher_is_better: bool | None = True

    @property
    def column(self) -> str:
        """MLflow's name of a row's mean."""
        return f"{self.metric}.mean"

    @property
    def ascending(self) -> bool:
        """Whether the best row has the lowest value."""
        return self.higher_is_better is False


def suite_link(base_url: str, experiment_id: str | None) -> str:
    """Address of a suite's runs on a tracking server's web page, or of all suites where there is no id."""
    runs = "" if experiment_id is None else f"/{experiment_id}/runs"  # without /runs the page opens in another mode
    return f"{base_url.rstrip('/')}/#/experiments{runs}"


def rows_link(base_url: str, experiment_id: str, order: Order) -> str:
    """Address of a chart of a suite's rows alone, without folds and files, the best one first."""
    asked = {
        "searchFilter": f"tags.`{KIND}` = '{ROW}'",
        "orderByKey": f"metrics.`{order.column}`",
        "orderByAsc": json.dumps(order.ascending),
        "compareRunsMode": "CHART",
    }
    return f"{suite_link(base_url, experiment_id)}?{urlencode(asked, quote_via=quote)}"


def compare_link(base_url: str, experiment_id: str, runs: Sequence[str]) -> str:
    """Address of the comparison of some runs."""
    asked = {"runs": json.dumps(list(runs)), "experiments": json.dumps([experiment_id])}
    return f"{base_url.rstrip('/')}/#/compare-runs?{urlencode(asked, quote_via=quote)}"


def best_pairs(uri: str, root: Path, suite: str, experiment_id: str, order: Order) -> dict[str, tuple[str, str]]:
    """Of each cohort the best row on several modalities and the best on one, as ids of runs; by the cohort's name.

    Raises:
        TrackingError: the server does not answer or refuses.
    """
    direction = "ASC" if order.ascending else "DESC"
    tags = {KIND: ROW, ROOT: read_root_id(root), "variant": BASE}
    found = Connection(uri, suite).call(
        "search_runs",
        [experiment_id],
        " and ".join([*(f"tags.`{name}` = '{value}'" for name, value in tags.items()), f"tags.model != '{ORACLE}'"]),
        order_by=[f"metrics.`{order.column}` {direction}"],
        max_results=1000,
    )
    best: dict[str, dict[bool, str]] = {}
    for run in found:
        if not math.isnan(run.data.metrics.get(order.column, math.nan)):
            fused = "+" in run.data.tags["modalities"]
            best.setdefault(run.data.tags["dataset"], {}).setdefault(fused, run.info.run_id)
    return {dataset: (of[True], of[False]) for dataset, of in best.items() if of.keys() == {True, False}}


def require_free(host: str, port: int) -> None:
    """
    Raises:
        TrackingError: nothing can listen there; where another program does, with a port that is free.
    """
    try:
        _listen(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise TrackingError(f"nothing can listen at {host}, port {port}: {error.strerror or error}") from error
        free = next((p for p in range(port + 1, min(port + NEXT_PORTS, 65536)) if _is_free(host, p)), None)
        more = "choose another --port" if free is None else f"port {free} is free: --port {free}"
        raise TrackingError(f"another program listens at {host}, port {port}; {more}") from error


def _is_free(host: str, port: int) -> bool:
    try:
        _listen(host, port)
    except OSError:
        return False
    return True


def _listen(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with closing(socket.socket(family, kind, protocol)) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does; no listener allows it
        tried.bind(address)
        tried.listen(1)


@contextmanager
def served(command: Sequence[str], environment: Mapping[str, str], host: str, port: int) -> Iterator[Any]:
    """MLflow's server, once it answers; it and its workers end with this block, and with this process.

    Raises:
        TrackingError: it ended, or did not answer in time.
    """
    start = [sys.executable, "-P", "-c", _WITH_PARENT, *command]
    process = subprocess.Popen(start, env=environment, stdin=subprocess.PIPE)
    try:
        _await(process, "localhost" if host in ANYWHERE else host, port)
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


def _await(process: subprocess.Popen[bytes], host: str, port: int) -> None:
    import requests

    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            requests.get(f"http://{host}:{port}/health", timeout=5).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(_PAUSE)
    how = "does not answer" if process.poll() is None else f"ended with status {process.returncode}"
    raise TrackingError(f"MLflow's server at {host}, port {port} {how}")
