"""Weights of a member, a network fitted on this fold already, for one that is built on it; loads torch when called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionbench.core.contexts import FitContext
from fusionbench.core.errors import PluginError
from fusionbench.core.types import Member

if TYPE_CHECKING:
    from torch import Tensor, nn

MODULE = "module."
"""Begins the names of a network's weights in the state of its predictor."""


def load_member(module: nn.Module, ctx: FitContext, member: Member, part: str = "") -> None:
    """Copy the weights of a member's network, or of a part of it, into a module.

    The member was fitted on the training and validation cases of the cell's own fold, as the harness plans it.

    Args:
        module: takes the weights; a network or a part of one (`net.encode["omic"]`).
        ctx: of the cell that is fitted.
        member: one of those that the model declares by `members`.
        part: name of the part of the member's network (`encode.omic`); all of it by default.

    Raises:
        PluginError: the member is not declared, is no network, or its weights do not fit: says which.
    """
    import torch

    start = MODULE + (f"{part}." if part else "")
    state = ctx.member(member).predictor.state()
    weights = {k.removeprefix(start): torch.tensor(v) for k, v in state.items() if k.startswith(start)}
    own = module.state_dict()
    who = f"the weights of member {member.model} on {'+'.join(member.modalities)}"
    if not weights:
        what = f"has no part {part!r}" if any(k.startswith(MODULE) for k in state) else "is no torch network"
        raise PluginError(f"{who} cannot be loaded: the member {what}")
    differing = [_difference(name, own.get(name), weights.get(name)) for name in dict.fromkeys((*own, *weights))]
    if found := [said for said in differing if said]:
        more = f"; {len(found) - 1} more differ" if len(found) > 1 else ""
        raise PluginError(f"{who} do not fit {type(module).__name__}: {found[0]}{more}")
    module.load_state_dict(weights)


def _difference(name: str, own: Tensor | None, given: Tensor | None) -> str:
    """Why the weights of a name cannot be taken; empty where they can."""
    if own is None:
        return f"{name!r} is in the member alone"
    if given is None:
        return f"{name!r} is not in the member"
    if own.shape != given.shape:
        return f"{name!r} has shape {tuple(own.shape)}, in the member {tuple(given.shape)}"
    return ""
