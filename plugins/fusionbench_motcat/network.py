"""MOTCat as a torch module: a Batch in, logits and attention out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
from fusionbench_mcat import McatNetwork
from torch import Tensor, nn

from fusionbench import Batch, ModalitySpec
from fusionbench_motcat.transport import Plan, balanced_plan, unbalanced_plan

if TYPE_CHECKING:
    from fusionbench_motcat.options import MotcatOptions


class Transport(nn.Module):
    """Tokens get the instances that a transport plan brings them; without parameters, and no gradient by the plan.

    The cost is the squared distance of both, each without its own least feature, over the largest of the case. A row of
    the plan sums to the mass that a token gets, about one over the tokens: what it sees is no weighted mean.

    Source: Xu and Chen 2023 (MOTCat), as its repository has it.
    """

    def __init__(self, options: MotcatOptions) -> None:
        super().__init__()
        self.options = options

    def costs(self, tokens: Tensor, instances: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared distances (case, instance, token), and both sides as they are compared."""
        y, x = (side.detach() - side.detach().amin(dim=-1, keepdim=True) for side in (tokens, instances))
        squares = x.square().sum(dim=-1, keepdim=True) + y.square().sum(dim=-1).unsqueeze(1)
        return (squares - 2.0 * (x @ y.mT)).clamp(min=0.0), x, y

    def plan(self, tokens: Tensor, instances: Tensor, mask: Tensor) -> Plan:
        """Of (case, token, width) and (case, instance, width), in double precision where the device has it."""
        o, exact = self.options, torch.float32 if tokens.device.type == "mps" else torch.float64
        cost, x, y = (part.to(exact) for part in self.costs(tokens, instances))
        largest = cost.masked_fill(~mask.unsqueeze(2), 0.0).amax(dim=(1, 2), keepdim=True)
        cost = cost / largest.clamp(min=torch.finfo(exact).tiny)  # all at one place: no cost
        if o.solver == "unbalanced":
            return unbalanced_plan(cost, mask, o.reg, o.tau, o.regulariser)
        tiny = torch.finfo(exact).tiny  # even marginals where nobody has mass
        masses = (x.sum(dim=-1) + tiny).masked_fill(~mask, 0.0), y.sum(dim=-1) + tiny
        a, b = (each / each.sum(dim=1, keepdim=True) for each in masses)
        return balanced_plan(cost, mask, a, b, o.reg)

    def forward(self, tokens: Tensor, instances: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What each token gets (case, token, width), and the mass (case, token, instance), zero where padded."""
        mass = self.plan(tokens, instances, mask).mass.mT.to(instances.dtype)
        return mass @ instances, mass


class MotcatNetwork(McatNetwork):
    """MCAT with a transport plan in place of its co-attention."""

    who = "motcat"

    def __init__(
        self, bag: ModalitySpec, vectors: Sequence[ModalitySpec], n_outputs: int, options: MotcatOptions
    ) -> None:
        super().__init__(bag, vectors, n_outputs, options, attend=Transport(options))

    def coattention(self, batch: Batch) -> Tensor:
        """(case, token, instance) transported mass, zero where padded; what the published program calls attention."""
        return cast(Tensor, self.attend(*self._tokens_and_instances(batch))[1])

    def attention(self, batch: Batch) -> dict[str, Tensor]:
        """As of `McatNetwork`; the bag's weights are shares of the transported mass."""
        maps = super().attention(batch)
        mass = maps[self.bag]
        return {**maps, self.bag: mass / mass.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(mass.dtype).tiny)}
