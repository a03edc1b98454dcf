"""What a result was computed with; recorded, not keyed."""

from __future__ import annotations

import platform
import resource
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = ("torch", "numpy", "pandas", "scipy", "scikit-learn", "scikit-survival", "pluggy", "einops", "mlflow")


def packages() -> dict[str, str]:
    """Installed versions of what results can depend on."""
    return {name: _version(name) for name in PACKAGES}


@cache  # a version is read from a file of many lines, and every cell asks
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def machine() -> dict[str, Any]:
    """The machine in words: processor architecture, cores, memory; no host name."""
    import psutil

    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(logical=True),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def describe(device: str, threads: int) -> dict[str, Any]:
    """Versions, device and the threads a cell was given."""
    import torch

    about = {"packages": packages(), "machine": machine(), "device": device, "threads": threads}
    if device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name()
    return about


def peak_memory_mib() -> float:
    """Peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
