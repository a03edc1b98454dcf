"""Adam and AdamW in one pass over the weights, and next to nothing around that pass.

torch's optimisers sort parameters by device and type, look at hooks and build lists anew at every step, which on a CPU
takes a third as long as the pass over a network of 600,000 weights. The kernel is torch's own, and so are the bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Adam(torch.optim.Optimizer):
    """What `torch.optim.Adam` and `AdamW` do with `fused=True`; parameters of one device and one type.

    Args:
        decoupled: weight decay shrinks the weights (AdamW, Loshchilov and Hutter 2019), else it is part of the
            gradient.

    Source: Kingma and Ba 2015.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, *, decoupled: bool) -> None:
        super().__init__(parameters, {"lr": lr, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": weight_decay})
        self._kernel: Any = torch._fused_adamw_ if decoupled else torch._fused_adam_

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients; one that is written anew costs less than one that is added to zeros."""
        if not set_to_none:
            super().zero_grad(set_to_none=False)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step; a parameter without a gradient stays as it is."""
        for group in self.param_groups:
            found = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not found:
                continue
            states = [self.state[parameter] or self._first(parameter) for parameter in found]
            self._kernel(
                found,
                [parameter.grad for parameter in found],
                [state["mean"] for state in states],
                [state["square"] for state in states],
                [],
                _counted(states, found[0].device),
                amsgrad=False,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                maximize=False,
            )

    # torch wraps the steps of a class that is not marked so, to name them to its profiler and to call hooks, which
    # takes as long as everything here but the kernel
    step.hooked = True  # type: ignore[attr-defined]

    def _first(self, parameter: nn.Parameter) -> Any:
        """Of a parameter that gets its first gradient: running means of it and of its square, from zero."""
        state = self.state[parameter]
        state["step"] = 0
        state["mean"], state["square"] = (
            torch.zeros_like(parameter, memory_format=torch.preserve_format) for _ in range(2)
        )
        return state


def _counted(states: list[Any], device: torch.device) -> list[Tensor]:
    """The number of each parameter's step, this one counted; parameters at the same step share a tensor."""
    numbers: dict[int, Tensor] = {}
    steps = []
    for state in states:
        state["step"] += 1
        if (number := state["step"]) not in numbers:
            numbers[number] = torch.full((), float(number), device=device)
        steps.append(numbers[number])
    return steps
