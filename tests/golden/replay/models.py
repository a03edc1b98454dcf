"""Published modules of reference files against ours, through the map of each plugin's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fusionbench.core.errors import PluginError
from tests.golden.replay import (
    clam,
    dsmil,
    healnet,
    ilra,
    lmf,
    mcat,
    motcat,
    mult,
    multimodn,
    pathomic,
    porpoise,
    survpath,
    tfn,
    unimodal,
)
from tests.golden.replay.compare import Comparison, compare
from tests.golden.replay.official import Official, State, from_logits
from tests.golden.replay.reference import Reference
from tests.golden.replay.training import losses

LOADERS: Mapping[str, Callable[[Mapping[str, Any], State], Official | None]] = {
    "clam": clam.load_official,
    "dsmil": dsmil.load_official,
    "healnet": healnet.load_official,
    "ilra": ilra.load_official,
    "lmf": lmf.load_official,
    "mcat": mcat.load_official,
    "motcat": motcat.load_official,
    "mult": mult.load_official,
    "multimodn": multimodn.load_official,
    "pathomic-fusion": pathomic.load_official,
    "porpoise": porpoise.load_official,
    "survpath": survpath.load_official,
    "tfn": tfn.load_official,
    "unimodal": unimodal.load_official,
}
"""Plugin to the function that makes its module of published weights; None where the config is of another kind."""
_ANSWERS = ("output", "mid/", "attn/", "grad/", "embedding", "loss")


def load(file: Reference) -> tuple[str, Official]:
    """The plugin that knows the file's config, and the module it makes of the weights.

    Raises:
        PluginError: no plugin knows the config, or the config or the weights do not fit.
    """
    state = file.under("param/")
    for name, loader in LOADERS.items():
        try:
            official = loader(file.config, state)
        except (KeyError, TypeError, ValueError) as error:
            raise PluginError(
                f"plugin {name!r} cannot make sense of the config: {type(error).__name__}: {error}"
            ) from error
        if official is not None:
            return name, official
    named = file.config.get("cls", "no cls")
    raise PluginError(f"no plugin knows a config with {named!r}; asked: {', '.join(LOADERS)}")


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
    ours |= losses(ours, inputs, official, file)
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
    found = torch.autograd.grad(
        risk.sum(), list(wanted.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return {f"grad/{name}": gradient for name, gradient in zip(wanted, found, strict=True)}
