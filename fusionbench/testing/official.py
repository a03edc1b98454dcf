"""What a plugin hands out so that published weights can be loaded and compared number by number.

A plugin's package root may have `load_official(config, state)`, which returns an `Official`, or None where the config
is not of a kind it knows; `python -m fusionbench.testing.replay` tries every installed plugin.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from fusionbench.errors import PluginError
from fusionbench.survival import hazards_to_survival, risk_from_survival
from fusionbench.types import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

State = Mapping[str, "NDArray[Any]"]
"""The published module's state dict, every name as it is there."""


class Adapter(ABC):
    """Between the arrays of a reference file and our module."""

    @abstractmethod
    def __call__(self, inputs: Mapping[str, Tensor]) -> Batch:
        """The published module's arguments as a Batch; gradients flow back to `inputs`.

        Args:
            inputs: `input/<name>` of the file under `<name>`, in the file's precision.
        """

    @abstractmethod
    def observe(self, module: nn.Module, inputs: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Everything that our module computes of what a reference file may hold.

        Returns:
            the file's names to values in the file's shapes: `output/logits` (always), `mid/<published submodule>`,
            attention. What follows from the logits (hazards, S, risk, gradients by the inputs) is not needed.
        """


class Official(NamedTuple):
    """A module with published weights, in evaluation mode, and how to feed it."""

    module: nn.Module
    adapter: Adapter


def fill(
    module: nn.Module,
    state: State,
    parts: Mapping[str, Iterable[str]],
    *,
    unused: Iterable[str] = (),
    who: str = "the module",
) -> None:
    """Load published tensors into our module.

    Args:
        parts: our parameter to the published ones that it is made of, one below the other (a fused projection is made
            of two); every parameter of `module` is a key.
        unused: published names that may be there and have no effect on what the module computes.

    Raises:
        PluginError: naming every tensor that is missing, left over, misshapen or no array of finite numbers, all at
            once.
    """
    parts = {ours: tuple(theirs) for ours, theirs in parts.items()}
    own = module.state_dict()
    if set(parts) != set(own):
        raise PluginError(f"{who}: no published name for {sorted(set(own) ^ set(parts))}")
    wanted = {name for theirs in parts.values() for name in theirs}
    problems = [f"missing {name!r}" for name in sorted(wanted - set(state))]
    problems += [f"left over {name!r}" for name in sorted(set(state) - wanted - set(unused))]
    problems += [f"{name!r} holds NaN or inf" for name in sorted(wanted & set(state)) if not _finite(state[name])]
    loaded = {}
    for ours, theirs in parts.items():
        if not all(name in state for name in theirs):
            continue
        blocks = [np.asarray(state[name]) for name in theirs]
        seen = " + ".join(str(tuple(block.shape)) for block in blocks)
        expected = tuple(own[ours].shape)
        stacks = len({block.shape[1:] for block in blocks}) == 1 and all(block.ndim for block in blocks)
        whole = np.concatenate(blocks) if len(blocks) > 1 and stacks else blocks[0]
        if (not stacks and len(blocks) > 1) or tuple(whole.shape) != expected:
            problems.append(f"{' + '.join(map(repr, theirs))} has shape {seen}, expected {expected}")
        loaded[ours] = torch.from_numpy(np.ascontiguousarray(whole))
    if problems:
        raise PluginError(f"{who}: the state does not fit: {'; '.join(problems)}")
    dtype = next((value.dtype for value in loaded.values() if value.is_floating_point()), torch.get_default_dtype())
    module.to(dtype).load_state_dict(loaded)
    module.eval()


def _finite(array: Any) -> bool:
    array = np.asarray(array)
    return array.dtype.kind in "fiub" and bool(np.isfinite(array).all())


def from_logits(logits: Tensor) -> dict[str, Tensor]:
    """The outputs that follow from logits (case, bin) of hazards, under the names that reference files use."""
    survival = hazards_to_survival(logits)
    return {
        "output/logits": logits,
        "output/logits_from_hazards": logits,
        "output/hazards": logits.sigmoid(),
        "output/S": survival,
        "output/risk": risk_from_survival(survival),
        "output/Y_hat": logits.argmax(dim=1, keepdim=True),
    }
