"""The data home, the results root and the tracking server: there, writable, with room."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fusionbench.core.registry import Registry
from fusionbench.data import data_home as datahome
from fusionbench.data.downloads import ENVIRONMENT
from fusionbench.tools.doctor.words import Line, Verdict

LITTLE = 2.0
"""GiB of free space below which a suite may not fit: 400 cells with weights take about one."""
_PATIENCE = 2.0  # seconds
_PORTS = {"http": 80, "https": 443}


def data_home_lines(registry: Registry, home: Path) -> Iterator[Line]:
    how = f"from {ENVIRONMENT}" if ENVIRONMENT in os.environ else f"{ENVIRONMENT} moves it"
    if not home.is_dir():
        yield Line("note", "data home", f"{home} is not there yet ({how}); `fusionbench data fetch` makes it")
        return
    yield _folder("data home", home, f"set {ENVIRONMENT} to a folder of yours to fetch data", readable="note")
    classes = map(registry.dataset, registry.names("datasets"))
    for row in datahome.rows(cls(cls.Options(), home) for cls in classes):
        if row.files == 0:
            continue
        if row.state == "damaged":
            yield Line("problem", f"cohort {row.dataset}", f"damaged: {row.absent[0]}; {_fetch(row.dataset)}")
        elif row.state == "missing":
            yield Line("note", f"cohort {row.dataset}", f"not here; {_fetch(row.dataset)}")
        else:
            yield Line("ok", f"cohort {row.dataset}", row.state)


def _fetch(dataset: str) -> str:
    return f"fusionbench data fetch {dataset}"


def results_lines(out: Path) -> Iterator[Line]:
    above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    yield _folder("results root", above, "choose another with --out", shown=out)
    yield Line("ok", "sqlite", f"{sqlite3.sqlite_version}, for the local tracking store")


def _folder(what: str, folder: Path, remedy: str, readable: Verdict = "problem", shown: Path | None = None) -> Line:
    """Whether a folder can be written and has room."""
    name = folder if shown is None else shown
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return Line(readable, what, f"{name} cannot be written: {error.strerror or error}; {remedy}")
    free = shutil.disk_usage(folder).free / 2**30
    if free < LITTLE:
        return Line("problem", what, f"{name} has {free:.1f} GiB free; make room, or {remedy}")
    return Line("ok", what, f"{name}, writable, {free:.0f} GiB free")


def tracking_lines() -> Iterator[Line]:
    """Whether somebody answers where runs are sent; asked only where a server is named."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if parts.scheme not in _PORTS or not parts.hostname:
        yield Line("ok", "mlflow", "a store on this machine" if not uri else f"{parts.scheme or 'file'} store")
        return
    where = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"  # no password is shown
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), timeout=_PATIENCE).close()
    except OSError as error:
        why = error.strerror or str(error)
        yield Line("problem", "mlflow", f"{where} does not answer ({why}); runs go on, `fusionbench sync` replays them")
        return
    yield Line("ok", "mlflow", f"{where} answers")
