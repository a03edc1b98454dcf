"""Chooses the executor of a run from its options."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib.util import find_spec

from fusionbench.core.errors import SuiteError
from fusionbench.core.executor import Executor, ResourceRequest
from fusionbench.core.registry import Registry
from fusionbench.execution.device import cores

FLAGS = {"jobs": "-j", "address": "--address", "gpus": "--gpus-per-cell", "timeout": "--timeout"}
"""Fields of `ResourceRequest` by the flags that ask for them."""
RAY = "ray"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


@dataclass(frozen=True)
class RunOptions:
    """How a run's cells are to be computed; None and empty leave it to the harness.

    Attributes:
        executor: by name; else `ray` where one of the others needs it, else `serial`.
        jobs: cells at once; else one on this machine, as many as fit on a cluster.
        gpus: of a cell, also a part of one.
        timeout: seconds after which a cell is stopped.
        retries: further attempts of a cell that gave no result, or failed for a reason that may pass.
    """

    executor: str | None = None
    jobs: int | None = None
    address: str | None = None
    gpus: float | None = None
    timeout: float | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise SuiteError(f"-j {self.jobs}: at least 1 cell has to run at once")
        if self.retries < 0:
            raise SuiteError(f"--retries {self.retries}: 0 is the fewest")
        if self.gpus is not None and not (math.isfinite(self.gpus) and self.gpus >= 0):
            raise SuiteError(f"--gpus-per-cell {self.gpus:g}: write a share of a GPU, such as 0.5, or a number of them")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise SuiteError(f"--gpus-per-cell {self.gpus:g}: above 1 only whole GPUs can be given")
        if self.timeout is not None and not self.timeout > 0:
            raise SuiteError(f"--timeout {self.timeout:g}: it has to be longer than nothing")

    @property
    def requested(self) -> frozenset[str]:
        """The fields of `ResourceRequest` that the run requests and not every executor supports."""
        given = {"address": self.address, "gpus": self.gpus, "timeout": self.timeout}
        fields = {field for field, value in given.items() if value is not None}
        return frozenset(fields | ({"jobs"} if (self.jobs or 1) > 1 else set()))


def choose(options: RunOptions, threads: int | None, device: str, registry: Registry) -> Executor:
    """The executor that keeps what is options.

    Args:
        threads: of a cell, where they are given; else the cores of this machine are shared out among `jobs`.
        device: cpu or cuda, as the driver would use it.

    Raises:
        SuiteError: there is none of that name, it does not support one of the flags, or a package is not installed.
    """
    name = options.executor or (RAY if options.requested else "serial")
    flags = ", ".join(FLAGS[field] for field in FLAGS if field in options.requested)
    if name == RAY and find_spec("ray") is None:
        what = f"{flags} needs the executor ray, which" if flags else "the executor ray"
        raise SuiteError(f'{what} is not installed; install it with: pip install "fusionbench[ray]"')
    cls: type[Executor] = registry.get("executors", name)
    if unsupported := ", ".join(flag for field, flag in FLAGS.items() if field in options.requested - cls.supports):
        remedy = "leave --executor out" if find_spec("ray") else 'install ray with: pip install "fusionbench[ray]"'
        raise SuiteError(f"executor {name!r} does not support {unsupported}; {remedy}")
    if "gpus" in cls.supports and not cls.in_driver and device == "cuda" and options.gpus is None:
        raise SuiteError(
            "several processes may want the GPU: say --gpus-per-cell 1, or a part such as 0.5, or --device cpu"
        )
    jobs = options.jobs or (None if options.address else 1)
    shared = cores() // jobs if jobs and not options.address else 1
    return cls(ResourceRequest(jobs, threads or max(1, shared), options.address, options.gpus or 0.0, options.timeout))


def seconds(text: str) -> float:
    """`90`, `90s`, `15m` or `1h30m` in seconds.

    Raises:
        SuiteError: it is none of these.
    """
    number = r"\d+(?:\.\d+)?"
    if re.fullmatch(number, text):
        return float(text)
    parts = re.findall(rf"({number})([hms])", text)
    if not parts or "".join(n + unit for n, unit in parts) != text or len({u for _, u in parts}) < len(parts):
        raise SuiteError(f"--timeout {text}: cannot read it; write a time such as 90s, 15m or 1h30m")
    return sum(float(n) * _UNITS[unit] for n, unit in parts)
