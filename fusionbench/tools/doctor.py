"""What a machine has that results depend on, and what would make them differ from those of a lock; one line each."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import socket
import sqlite3
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import fusionbench
from fusionbench.core import environment
from fusionbench.core.commands import command
from fusionbench.core.errors import FusionBenchError, ResultsError, SuiteError, file_problem
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.data.downloads import ENVIRONMENT, dataset_rows
from fusionbench.execution.shared import SharedResources
from fusionbench.suites.cell import RESULTS_VERSION
from fusionbench.suites.lock import LOCK, is_older, read_lock
from fusionbench.tools.find_suite import find_suite

Verdict = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """Something that was looked at.

    Attributes:
        verdict: note = good to know, nothing is wrong; problem = something will not work, and the text says what to do.
    """

    verdict: Verdict
    what: str
    text: str


def examine(registry: Registry, home: Path, out: Path, suite: str | None = None) -> Iterator[Check]:
    """Every line, in the order in which they are shown.

    Args:
        suite: compare what is installed with what its lock under `out` was run with.

    Raises:
        SuiteError: no such suite. ResultsError: it has no lock, or a damaged one.
    """
    if suite is not None:
        yield from against_lock(suite, out, registry, home)
        return
    yield from version_lines(registry)
    yield from device_lines()
    yield from thread_lines()
    yield from data_home_lines(registry, home)
    yield from results_lines(out)
    yield from tracking_lines(out)
    yield from extra_lines()


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
USES = {
    "nifti": "volumes in NIfTI files",
    "onnx": "slide encoders as ONNX files",
    "ray": "several processes and machines, and --timeout",
}
"""What an extra is for."""
_EXTRA = re.compile(r"""^(?P<package>[A-Za-z0-9._-]+).*extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


def version_lines(registry: Registry) -> Iterator[Check]:
    """fusionbench, Python, the packages that results depend on, and the plugins."""
    yield Check("ok", "fusionbench", f"{fusionbench.__version__}, RESULTS_VERSION {RESULTS_VERSION}")
    yield Check("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name, found in environment.packages().items():
        absent = found == "not installed"
        yield Check("problem" if absent else "ok", name, f"{found}; install fusionbench anew" if absent else found)
    for plugin in registry.plugins:
        where = f"{plugin.distribution} {plugin.version}"
        if plugin.status == "ok":
            yield Check("ok", f"plugin {plugin.name}", where)
        else:
            yield Check("problem", f"plugin {plugin.name}", f"{where} is broken: {plugin.reason}")


def device_lines() -> Iterator[Check]:
    """The processor and the GPUs."""
    import torch

    about = environment.machine()
    yield Check("ok", "processor", f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB of memory")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("ok", "cuda", f"{torch.version.cuda}: {', '.join(names)}")
        yield Check(
            "note", "cuda", "kernels may add in any order: `run --deterministic` gives the same bits every time"
        )
    else:
        yield Check("note", "cuda", "none; --device auto is the CPU")


def thread_lines() -> Iterator[Check]:
    """Libraries that add in parallel: another one, or another number of threads, gives other last digits."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    np.dot(np.eye(2), np.eye(2))  # the library is loaded
    for pool in threadpool_info():
        kind = f"{pool['internal_api']} {pool.get('version') or ''}".strip()
        yield Check("ok", pool["user_api"], f"{kind}, {pool['num_threads']} threads")
    yield Check(
        "ok", "torch threads", f"{torch.get_num_threads()}; a cell takes one, or all for large bags (--threads)"
    )
    said = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    yield Check("note" if said else "ok", "environment", ", ".join(said) or f"none of {', '.join(THREADS)} is set")


def extra_lines() -> Iterator[Check]:
    """Optional parts, what each is for and whether it is here."""
    of: dict[str, list[str]] = {}
    for requirement in requires("fusionbench") or ():
        if (match := _EXTRA.match(requirement)) and match["extra"] != "test":
            of.setdefault(match["extra"], []).append(match["package"])
    for extra, packages in sorted(of.items()):
        absent = [name for name in packages if _absent(name)]
        use = USES.get(extra, "see pyproject.toml")
        if absent:
            yield Check("note", f"extra {extra}", f'not here: {use}; pip install "fusionbench[{extra}]"')
        else:
            yield Check("ok", f"extra {extra}", f"{use}: {', '.join(f'{name} {version(name)}' for name in packages)}")


def _absent(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return True
    return False


LITTLE = 2.0
"""GiB of free space below which a suite may not fit: 400 cells with weights take about one."""
_PATIENCE = 2.0  # seconds
_PORTS = {"http": 80, "https": 443}


def data_home_lines(registry: Registry, home: Path) -> Iterator[Check]:
    """The data home and which cohorts are in it."""
    how = f"from {ENVIRONMENT}" if ENVIRONMENT in os.environ else f"{ENVIRONMENT} moves it"
    if not home.is_dir():
        yield Check("note", "data home", f"{home} is not there yet ({how}); `fusionbench data fetch NAME` makes it")
        return
    yield _folder("data home", home, f"set {ENVIRONMENT} to a folder of yours to fetch data", readable="note")
    classes = map(registry.dataset, registry.names("datasets"))
    for row in dataset_rows(cls(cls.Options(), home) for cls in classes):
        if row.files == 0:
            continue
        if row.state == "damaged":
            yield Check("problem", f"cohort {row.dataset}", f"damaged: {row.absent[0]}; {_fetch(row.dataset)}")
        elif row.state == "missing":
            yield Check("note", f"cohort {row.dataset}", f"not here; {_fetch(row.dataset)}")
        else:
            yield Check("ok", f"cohort {row.dataset}", row.state)


def _fetch(dataset: str) -> str:
    return f"fusionbench data fetch {shlex.quote(dataset)}"


def results_lines(out: Path) -> Iterator[Check]:
    """Whether results can be written, and the sqlite of the local tracking store."""
    above = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    yield _folder("results root", above, "choose another with --out", shown=out)
    yield Check("ok", "sqlite", f"{sqlite3.sqlite_version}, for the local tracking store")


def _folder(what: str, folder: Path, remedy: str, readable: Verdict = "problem", shown: Path | None = None) -> Check:
    """Whether a folder can be written and has room."""
    name = folder if shown is None else shown
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return Check(readable, what, f"{name} cannot be written: {error.strerror or error}; {remedy}")
    free = shutil.disk_usage(folder).free / 2**30
    if free < LITTLE:
        return Check("problem", what, f"{name} has {free:.1f} GiB free; make room, or {remedy}")
    return Check("ok", what, f"{name}, writable, {free:.0f} GiB free")


def tracking_lines(out: Path) -> Iterator[Check]:
    """Whether somebody answers where runs are sent; asked only where a server is named."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    parts = urlsplit(uri)
    if parts.scheme not in _PORTS or not parts.hostname:
        yield Check("ok", "mlflow", "a store on this machine" if not uri else f"{parts.scheme or 'file'} store")
        return
    where = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"  # no password is shown
    try:
        socket.create_connection((parts.hostname, parts.port or _PORTS[parts.scheme]), timeout=_PATIENCE).close()
    except OSError as error:
        why = error.strerror or str(error)
        yield Check(
            "problem",
            "mlflow",
            f"{where} does not answer ({why}); runs go on, and are replayed by: {command(out, 'sync')}",
        )
        return
    yield Check("ok", "mlflow", f"{where} answers")


RUN = "run.toml"


def against_lock(suite: str, out: Path, registry: Registry, home: Path) -> Iterator[Check]:
    """One line a version: problem = other results by declaration, note = perhaps other last digits.

    Raises:
        SuiteError: no such suite. ResultsError: it has no lock, or a damaged one.
    """
    found = find_suite(suite, out, registry)
    folder = found.store.folder
    if not found.store.has_file(LOCK):
        start = command(out, "run", found.called)
        raise ResultsError(
            f"{found.name}: nothing has been run under {out}, so there is nothing to compare with; start with: {start}"
        )
    lock = read_lock(folder)
    yield _keyed("RESULTS_VERSION", lock.get("results_version"), RESULTS_VERSION)
    written = {str(ref): ref for ref in found.load_or_stored().datasets}
    for dataset, about in lock["datasets"].items():
        yield _keyed(f"dataset {dataset}", about.get("version"), _version(registry, "datasets", dataset.split("[")[0]))
        if is_older(lock):
            text = "hashed in another way in the lock, so it cannot be compared"
            yield Check("note", f"data of {dataset}", text)
            continue
        ref = written.get(dataset) or PluginRef.parse(dataset)
        yield from _fingerprints(ref, about.get("fingerprint"), registry, home)
    for model, then in _section(lock, "models").items():
        yield _keyed(f"model {model}", then, _version(registry, "models", model))
    plugins = {p.name: f"{p.distribution} {p.version}" for p in registry.plugins if p.status == "ok"}
    for plugin, then in _section(lock, "plugins").items():
        yield _recorded(f"plugin {plugin}", then, plugins.get(plugin, "not installed"))
    here = environment.packages()
    for package, then in _section(lock, "packages").items():
        yield _recorded(package, then, here.get(package, "not looked at"))
    yield from _machine(folder)


def _fingerprints(dataset: PluginRef, then: object, registry: Registry, home: Path) -> Iterator[Check]:
    """Whether the cohort is, by unit, what was read then."""
    resources = SharedResources(registry, home)
    for unit, fingerprint in (then if isinstance(then, Mapping) else {}).items():
        what = f"data of {dataset} ({unit})"
        try:
            here = resources.cohort(dataset, unit).fingerprint
        except FusionBenchError as error:
            yield Check("note", what, f"cannot be read here, so it cannot be compared: {error}")
            continue
        if here == fingerprint:
            yield Check("ok", what, "as in the lock")
        else:
            yield Check("problem", what, "other data than in the lock: its cells are stale and would be computed anew")


def _section(lock: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = lock.get(name)
    return found if isinstance(found, Mapping) else {}


def _version(registry: Registry, kind: str, name: str) -> str:
    try:
        return str(registry.get(kind, name).version)
    except SuiteError:
        return "not installed"


def _keyed(what: str, then: object, now: object) -> Check:
    """What is part of a cell's key."""
    if then == now:
        return Check("ok", what, f"{now}, as in the lock")
    return Check("problem", what, f"{then} in the lock, {now} here: its cells are stale and would be computed anew")


def _recorded(what: str, then: object, now: object) -> Check:
    """What is recorded and not part of a key."""
    if then == now:
        return Check("ok", what, f"{now}, as in the lock")
    return Check("note", what, f"{then} in the lock, {now} here: last digits may differ")


def _machine(folder: Path) -> Iterator[Check]:
    """Where it was run, of a published run."""
    if not (folder / RUN).is_file():
        return
    try:
        run = tomllib.loads((folder / RUN).read_text(encoding="utf-8"))
        then = run["environment"][0]
        device, python = str(then["device"]), str(then["machine"]["python"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ResultsError(file_problem(folder / RUN, error, "publish the run again")) from error
    yield Check("ok" if device == "cpu" else "note", "device", f"{device} when it was run")
    yield _recorded("python", python, platform.python_version())
