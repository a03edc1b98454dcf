"""Versions, devices, linear algebra, threads and extras."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

import fusionbench
from fusionbench.core import environment
from fusionbench.core.registry import Registry
from fusionbench.suites.cell import RESULTS_VERSION
from fusionbench.tools.doctor.words import Line

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
USES = {
    "nifti": "volumes in NIfTI files",
    "onnx": "slide encoders as ONNX files",
    "ray": "several processes and machines, and --timeout",
}
"""What an extra is for."""
_EXTRA = re.compile(r"""^(?P<package>[A-Za-z0-9._-]+).*extra\s*==\s*['"](?P<extra>[\w-]+)['"]""")


def version_lines(registry: Registry) -> Iterator[Line]:
    yield Line("ok", "fusionbench", f"{fusionbench.__version__}, RESULTS_VERSION {RESULTS_VERSION}")
    yield Line("ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name, found in environment.packages().items():
        absent = found == "not installed"
        yield Line("problem" if absent else "ok", name, f"{found}; install fusionbench anew" if absent else found)
    for plugin in registry.plugins:
        where = f"{plugin.distribution} {plugin.version}"
        if plugin.status == "ok":
            yield Line("ok", f"plugin {plugin.name}", where)
        else:
            yield Line("problem", f"plugin {plugin.name}", f"{where} could not be loaded: {plugin.reason}")


def device_lines() -> Iterator[Line]:
    import torch

    about = environment.machine()
    yield Line("ok", "processor", f"{_processor()}, {about['cores']} cores, {about['memory_gib']} GiB of memory")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Line("ok", "cuda", f"{torch.version.cuda}: {', '.join(names)}")
        yield Line("note", "cuda", "kernels may add in any order: `run --deterministic` gives the same bits every time")
    else:
        yield Line("note", "cuda", "none; --device auto is the CPU")


def _processor() -> str:
    """The processor's name; its architecture where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def thread_lines() -> Iterator[Line]:
    """Libraries that add in parallel: another one, or another number of threads, gives other last digits."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_info

    np.dot(np.eye(2), np.eye(2))  # the library is loaded
    for pool in threadpool_info():
        kind = f"{pool['internal_api']} {pool.get('version') or ''}".strip()
        yield Line("ok", pool["user_api"], f"{kind}, {pool['num_threads']} threads")
    yield Line("ok", "torch threads", f"{torch.get_num_threads()}; a cell takes one, or all for large bags (--threads)")
    said = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    yield Line("note" if said else "ok", "environment", ", ".join(said) or f"none of {', '.join(THREADS)} is set")


def extra_lines() -> Iterator[Line]:
    """Optional parts, what each is for and whether it is here."""
    of: dict[str, list[str]] = {}
    for requirement in requires("fusionbench") or ():
        if (match := _EXTRA.match(requirement)) and match["extra"] != "test":
            of.setdefault(match["extra"], []).append(match["package"])
    for extra, packages in sorted(of.items()):
        absent = [name for name in packages if _absent(name)]
        use = USES.get(extra, "see pyproject.toml")
        if absent:
            yield Line("note", f"extra {extra}", f'not here: {use}; pip install "fusionbench[{extra}]"')
        else:
            yield Line("ok", f"extra {extra}", f"{use}: {', '.join(f'{name} {version(name)}' for name in packages)}")


def _absent(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return True
    return False
