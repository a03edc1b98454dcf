"""Keeps one plugin from changing what others are computed with.

Around a call into a plugin, settings of the process are remembered and put back, and what was changed is named.
"""

from __future__ import annotations

import io
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from fusionbench.core.errors import PluginError
from fusionbench.core.library_imports import watched_imports

PROTECTED = (
    "fusionbench.builtin.metrics",
    "fusionbench.builtin.calibration",
    "fusionbench.survival",
    "fusionbench.execution.evaluate",
)
"""Modules whose functions and classes score predictions; with their submodules."""

_OWN = frozenset({"fusionbench", "numpy", "scipy", "sksurv", *sys.stdlib_module_names})
"""Packages whose functions stand in the protected modules."""


@dataclass(frozen=True)
class Setting:
    """A setting of the process.

    Attributes:
        name: for people.
        get: its present value, to be compared with ==.
        set: puts a value back.
        drawn: it is the state of a random number generator, which any draw changes.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], object]
    drawn: bool = False


def _environment(values: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


def _filters(values: list[Any]) -> None:
    warnings.filters[:] = values  # type: ignore[index]  # a list, which typeshed calls a sequence
    warnings.simplefilter("default", _NoWarning)  # tells Python's cache of filters that they have changed
    warnings.filters[:] = values  # type: ignore[index]


class _NoWarning(Warning):
    """A category that nothing raises."""


def _numpy_state() -> tuple[Any, ...]:
    """numpy's global random state; its words as bytes, which == compares."""
    state: Any = np.random.get_state()  # noqa: NPY002 - the global state is what plugins may use
    name, words, *rest = state
    return name, words.tobytes(), *rest


def _set_numpy_state(state: tuple[Any, ...]) -> None:
    name, words, *rest = state
    np.random.set_state((name, np.frombuffer(words, np.uint32), *rest))  # noqa: NPY002


_SETTINGS = (
    Setting("the working directory", os.getcwd, os.chdir),
    Setting("environment variables", lambda: dict(os.environ), _environment),
    Setting("the warnings filters", lambda: list(warnings.filters), _filters),
    Setting("numpy's handling of floating-point errors", np.geterr, lambda value: np.seterr(**value)),
    Setting("standard error", lambda: sys.stderr, lambda value: setattr(sys, "stderr", value)),
    Setting("Python's random numbers", random.getstate, random.setstate, drawn=True),
    Setting("numpy's random numbers", _numpy_state, _set_numpy_state, drawn=True),
)


@cache
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
        Setting(
            "torch's random numbers",
            lambda: torch.get_rng_state().numpy().tobytes(),
            lambda state: torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8)),
            drawn=True,
        ),
    )


def _default_device(device: Any) -> None:
    import torch

    # A default device that is set is a mode in front of every call of torch; None takes it away again.
    torch.set_default_device(None if device.type == "cpu" else device)


@contextmanager
def guarded(who: str, note: Callable[[str], object], *, own: str = "", fitting: bool = False) -> Iterator[None]:
    """Around a call into a plugin: settings, random states and the harness's own functions are put back afterwards.

    What a library changes when it is imported inside is put back, too; nothing is said of that. What the plugin prints
    goes to standard error, so that `--json` stays JSON.

    Args:
        who: what the plugin does, for people: the subject of a sentence.
        note: is given a line about what was changed.
        own: the plugin's top-level package: what its modules change when they are imported is the plugin's doing.
        fitting: a model is fitted or scored: it may draw random numbers and print, and nothing is said of that.
    """
    before = _Remembered()
    try:
        with _output_to_standard_error() as printed, watched_imports(own, _library(before)):
            yield
    finally:
        changed = list(before.put_back(draws=not fitting))
        if changed:
            note(f"{who} changed {', '.join(changed)}; put back")
        if printed.used and not fitting:
            note(f"{who} printed to standard output; shown on standard error")


def _library(before: _Remembered) -> Callable[[], Any]:
    """What is done around the import of a library: what it changes is put back, what it brings is remembered."""

    @contextmanager
    def around() -> Iterator[None]:
        now = _Remembered()
        try:
            yield
        finally:
            list(now.put_back())
            _protected.cache_clear()  # a module is there before its functions are
            before.remember()

    return around


class _Remembered:
    """Values of settings, and functions of the protected modules, as they are when it is made."""

    def __init__(self) -> None:
        self.values: dict[Setting, Any] = {}
        self.functions: dict[tuple[Any, str], Any] = {}
        self.remember()

    def remember(self) -> None:
        """Take in what was loaded since."""
        torch = sys.modules.get("torch")
        loaded = hasattr(torch, "backends")  # while it is imported, it is there and empty
        for setting in (*_SETTINGS, *(_torch_settings(torch) if loaded else ())):
            if setting not in self.values:
                self.values[setting] = setting.get()
        for owner, name in _protected(len(sys.modules)):
            if (owner, name) not in self.functions:
                self.functions[owner, name] = vars(owner).get(name)

    def put_back(self, *, draws: bool = True) -> Iterator[str]:
        """Put everything back; yields the names of what was changed.

        Args:
            draws: name random numbers that were drawn, too.
        """
        for setting, value in self.values.items():
            try:
                same = setting.get() == value
            except OSError:  # the working directory was removed
                same = False
            if not same:
                setting.set(value)
                if draws or not setting.drawn:
                    yield setting.name
        for (owner, name), value in self.functions.items():
            if vars(owner).get(name) is not value:
                setattr(owner, name, value)
                yield _label(owner, name)


@lru_cache(maxsize=1)
def _protected(modules: int) -> tuple[tuple[Any, str], ...]:
    """(owner, name) of every function and class of the protected modules, and of their classes' functions.

    Args:
        modules: how many are loaded; looked for again once there is one more.
    """
    return tuple((owner, name) for owner, name, _ in _members())


def _members() -> Iterator[tuple[Any, str, Any]]:
    for name, module in list(sys.modules.items()):
        if name.startswith(PROTECTED) and isinstance(module, ModuleType):
            for key, value in vars(module).items():
                if isinstance(value, FunctionType):
                    yield module, key, value
                elif isinstance(value, type) and value.__module__ == name:
                    yield module, key, value
                    yield from ((value, k, v) for k, v in vars(value).items() if isinstance(v, FunctionType))


class _Printed(io.TextIOBase):
    """Standard output as a plugin sees it: what is written goes to standard error."""

    used = False

    def write(self, text: str) -> int:
        """Pass it on."""
        self.used = True
        return sys.stderr.write(text)

    def flush(self) -> None:
        """Pass it on."""
        sys.stderr.flush()

    def fileno(self) -> int:
        """That of standard error."""
        return sys.stderr.fileno()

    def isatty(self) -> bool:
        """As standard error."""
        return sys.stderr.isatty()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """As standard error."""
        return sys.stderr.encoding


@contextmanager
def _output_to_standard_error() -> Iterator[_Printed]:
    """Standard output is standard error inside, also to C libraries and to processes that are started there."""
    printed = _Printed()
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no standard output
        with redirect_stdout(printed):
            yield printed
        return
    try:
        with suppress(OSError):  # there is no standard error
            os.dup2(2, 1)
        with redirect_stdout(printed):
            yield printed
    finally:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
        os.dup2(kept, 1)
        os.close(kept)


def refuse_replaced_functions() -> None:
    """Refuse to compute with metrics that a plugin replaced.

    Raises:
        PluginError: a function that scores predictions is a plugin's, put there before the plugins were looked for.
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
