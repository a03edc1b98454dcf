"""Published modules of reference files against ours, through the plugins' `load_official`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import Tensor

from fusionbench.core.errors import PluginError
from fusionbench.core.registry import GROUP
from fusionbench.testing.official import Official, from_logits
from fusionbench.testing.replay.compare import Comparison, compare
from fusionbench.testing.replay.reference import Reference

_ANSWERS = ("output", "mid/", "attn/", "grad/", "embedding", "loss")


def load(file: Reference) -> tuple[str, Official]:
    """The plugin that knows the file's config, and the module it makes of the weights.

    Raises:
        PluginError: no installed plugin knows the config, or the config or the weights do not fit.
    """
    state, tried = file.under("param/"), []
    for point in _points(tuple(sys.path)):
        try:
            loader = getattr(point.load(), "load_official", None)
        # A broken plugin of a stranger is no reason not to ask the others.
        except Exception as error:  # noqa: BLE001
            tried.append(f"{point.name} (broken: {error})")
            continue
        if loader is None:
            continue
        try:
            official = loader(file.config, state)
        except (KeyError, TypeError, ValueError) as error:
            raise PluginError(
                f"plugin {point.name!r} cannot make sense of the config: {type(error).__name__}: {error}"
            ) from error
        if official is not None:
            return point.name, official
        tried.append(point.name)
    named = file.config.get("cls", "no cls")
    raise PluginError(f"no plugin knows a config with {named!r}; asked: {', '.join(tried) or 'none'}")


@cache
def _points(path: tuple[str, ...]) -> list[EntryPoint]:
    """Plugins by name. Reading every installed package's list of them takes as long as replaying a small file."""
    return sorted(entry_points(group=GROUP), key=lambda p: p.name)


def models(file: Reference, official: Official) -> Iterator[tuple[str, Comparison]]:
    """Every output, inner value, attention and gradient that both sides have."""
    inputs = _inputs(file)
    try:
        ours = dict(official.adapter.observe(official.module, inputs))
    except KeyError as error:
        raise PluginError(f"the file lacks input {error}") from error
    derived = from_logits(ours["output/logits"])
    ours = {**derived, **ours}
    ours |= _gradients(derived["output/risk"], inputs, file)
    for name, theirs in file.arrays.items():
        if name in ours and name.startswith(_ANSWERS):
            yield name, compare(name, ours[name], theirs)


def _inputs(file: Reference) -> dict[str, Tensor]:
    """What the module was given: inputs by their short name, and whatever else is no answer (a mask, targets)."""
    given: dict[str, Tensor] = {}
    for name, array in file.arrays.items():
        if not name.startswith(("param/", *_ANSWERS)):
            value = torch.tensor(array)
            given[name.removeprefix("input/")] = value.requires_grad_() if _learns(name, value) else value
    return given


def _learns(name: str, value: Tensor) -> bool:
    return name.startswith("input/") and value.is_floating_point()


def _gradients(risk: Tensor, inputs: Mapping[str, Tensor], file: Reference) -> dict[str, Any]:
    """Of the summed risk by each input that the file has such a gradient of."""
    wanted = {name: x for name, x in inputs.items() if f"grad/{name}" in file.arrays and x.requires_grad}
    if not wanted:
        return {}
    found = torch.autograd.grad(risk.sum(), list(wanted.values()), allow_unused=True, materialize_grads=True)
    return {f"grad/{name}": gradient for name, gradient in zip(wanted, found, strict=True)}
