"""Keeps one plugin from changing what others are computed with.

Around a call into a plugin, settings of the process are remembered and put back, and what was changed is named.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from fusionbench.core.errors import PluginError

PROTECTED = ("fusionbench.builtin.metrics", "fusionbench.builtin.calibration", "fusionbench.survival")
"""Modules whose functions and classes score predictions; with their submodules."""

_OWN = frozenset({"fusionbench", "numpy", "scipy", "sksurv", *sys.stdlib_module_names})
"""Packages whose functions stand in the protected modules."""


@dataclass(frozen=True)
class Setting:
    """A setting of the process.

    Attributes:
        name: for people.
        get: its present value.
        set: puts a value back.
        imports_may: importing a library may change it, which is then put back without a word.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    imports_may: bool = False


def _environment(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _filters(values: list[Any]) -> None:
    warnings.filters[:] = values  # type: ignore[index]  # a list, which typeshed calls a sequence
    warnings.simplefilter("default", _NoWarning)  # tells Python's cache of filters that they have changed
    warnings.filters[:] = values  # type: ignore[index]


class _NoWarning(Warning):
    """A category that nothing raises."""


_SETTINGS = (
    Setting("the working directory", os.getcwd, os.chdir),
    Setting("environment variables", lambda: dict(os.environ), _environment, imports_may=True),
    Setting("the warnings filters", lambda: list(warnings.filters), _filters, imports_may=True),
    Setting("numpy's handling of floating-point errors", np.geterr, lambda value: np.seterr(**value)),
)


def _torch_settings(torch: Any) -> tuple[Setting, ...]:
    """Settings of torch; only where something has loaded it."""
    cudnn = torch.backends.cudnn
    return (
        Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
        Setting("torch's default device", torch.get_default_device, _default_device),
        Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads),
        Setting(
            "torch's deterministic algorithms",
            torch.are_deterministic_algorithms_enabled,
            torch.use_deterministic_algorithms,
        ),
        Setting("torch's cuDNN benchmark", lambda: cudnn.benchmark, lambda value: setattr(cudnn, "benchmark", value)),
        Setting(
            "torch's precision of matrix products",
            torch.get_float32_matmul_precision,
            torch.set_float32_matmul_precision,
        ),
        Setting("torch's autocast", torch.is_autocast_enabled, lambda on: torch.set_autocast_enabled("cpu", on)),
        Setting("torch's gradient mode", torch.is_grad_enabled, torch.set_grad_enabled),
    )


def _default_device(device: Any) -> None:
    import torch

    # A default device that is set is a mode in front of every call of torch; None takes it away again.
    torch.set_default_device(None if device.type == "cpu" else device)


@contextmanager
def guarded(who: str, note: Callable[[str], object]) -> Iterator[None]:
    """Around a call into a plugin: settings, random states and the harness's own functions are put back afterwards.

    What the plugin prints goes to standard error, so that `--json` stays JSON.

    Args:
        who: the plugin's thing that is called, for people.
        note: is given a line about what was changed; nothing is said of random numbers that were drawn.
    """
    torch = sys.modules.get("torch")
    settings = (*_SETTINGS, *(_torch_settings(torch) if torch is not None else ()))
    before, modules = [setting.get() for setting in settings], len(sys.modules)
    state, numpy_state, originals = random.getstate(), np.random.get_state(), _members()  # noqa: NPY002
    torch_state = None if torch is None else torch.get_rng_state()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        changed = list(_put_back(settings, before, imported=len(sys.modules) > modules))
        changed += _put_back_functions(originals)
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - the global state is what plugins may have used
        if torch is not None and torch_state is not None:
            torch.set_rng_state(torch_state)
        if changed:
            note(f"{who} changed {', '.join(changed)}; put back")


def _put_back(settings: Sequence[Setting], before: Sequence[Any], *, imported: bool) -> Iterator[str]:
    """Put settings back; yields the names of those that a plugin changed.

    Args:
        imported: modules were imported since, which may have changed some of them.
    """
    for setting, value in zip(settings, before, strict=True):
        try:
            same = setting.get() == value
        except OSError:  # the working directory was removed
            same = False
        if not same:
            setting.set(value)
            if not (imported and setting.imports_may):
                yield setting.name


def _members() -> list[tuple[Any, str, Any]]:
    """(owner, name, value) of every function and class of the protected modules, and of their classes' functions."""
    found: list[tuple[Any, str, Any]] = []
    for name, module in list(sys.modules.items()):
        if name.startswith(PROTECTED) and isinstance(module, ModuleType):
            for key, value in vars(module).items():
                if isinstance(value, FunctionType):
                    found.append((module, key, value))
                elif isinstance(value, type) and value.__module__ == name:
                    found.append((module, key, value))
                    found += [(value, k, v) for k, v in vars(value).items() if isinstance(v, FunctionType)]
    return found


def _put_back_functions(originals: Sequence[tuple[Any, str, Any]]) -> Iterator[str]:
    """Put replaced functions and classes back; yields their names."""
    for owner, name, value in originals:
        if vars(owner).get(name) is not value:
            setattr(owner, name, value)
            yield _label(owner, name)


def refuse_replaced_functions() -> None:
    """Refuse to compute with metrics that a plugin replaced.

    Raises:
        PluginError: a function that scores predictions is a plugin's, put there when the plugin was imported.
    """
    foreign = [
        f"{_label(owner, name)} by {value.__module__}"
        for owner, name, value in _members()
        if isinstance(value, FunctionType) and value.__module__.partition(".")[0] not in _OWN
    ]
    if foreign:
        raise PluginError(f"a plugin replaced {', '.join(foreign)}; uninstall it")


def _label(owner: Any, name: str) -> str:
    return f"{getattr(owner, '__qualname__', owner.__name__)}.{name} of fusionbench"
