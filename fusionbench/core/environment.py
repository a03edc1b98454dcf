"""What a result was computed with; recorded, not keyed."""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
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
    """The machine in words: processor, system, cores, memory; no host name."""
    import psutil

    return {
        "processor": processor(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": psutil.cpu_count(logical=True),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


@cache
def processor() -> str:
    """The processor's name; its architecture where the system does not say."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:  # no Linux
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def describe(device: str, threads: int) -> dict[str, Any]:
    """Versions, device and the threads a cell was given."""
    import torch

    about = {
        "fusionbench": _version("fusionbench"),
        "packages": packages(),
        "machine": machine(),
        "device": device,
        "threads": threads,
    }
    if device.startswith("cuda"):
        about["gpu"] = torch.cuda.get_device_name()
    return about


@cache
def git_commit() -> str:
    """Commit of this package's checkout, with `-dirty` where code was changed since, or of the archive that pip built.

    Empty where neither is known: an installed release says by its version what it is.
    """
    folder = Path(__file__).parents[1]
    head = _git(folder, "log", "-1", "--format=%H", "--", ".") and _git(folder, "rev-parse", "HEAD")
    if head:  # the folder is under version control itself, not only below somebody's checkout
        return f"{head}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "..") else head
    origin = distribution("fusionbench").read_text("direct_url.json")
    return str(json.loads(origin).get("vcs_info", {}).get("commit_id", "")) if origin else ""


def _git(folder: Path, *command: str) -> str:
    """What git prints; empty where there is no git, or it refuses."""
    try:
        done = subprocess.run(["git", *command], cwd=folder, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def peak_memory_mib() -> float:
    """Peak resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
