"""Options of `motcat`. "Published" is Innse/MOTCat at fe70abc; every default is the published one."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_mcat import McatOptions
from pydantic import Field, model_validator


class MotcatOptions(McatOptions):
    """Options of `motcat`: those of `mcat`, and of the transport.

    Attributes:
        solver: the plan is "unbalanced", or "balanced" with the embeddings' masses as marginals (published too).
        reg: strength of the plan's regulariser, with costs scaled to 1 at most. Published: .1; .05 for BLCA and LUAD.
            Below some .005 the plan is not settled after the 1,000 iterations that there are at most.
        tau: of solver=unbalanced: how much marginals that are not even cost. Published: .5.
        regulariser: of solver=unbalanced: "entropy", as published, under which the mass grows with the bag, or "kl",
            which newer versions of the published library take, under which it does not.
        recipe: "own" = trained as published: Adam at 2e-4 for 20 epochs, one case a batch, 32 a step. The published
            sampler by bin and censoring, the published choice of the best validation epoch, and the published split of
            a bag into parts of 256 are not there.
    """

    solver: Literal["unbalanced", "balanced"] = "unbalanced"
    reg: float = Field(0.1, gt=0)
    tau: float = Field(0.5, gt=0)
    regulariser: Literal["entropy", "kl"] = "entropy"
    recipe: Literal["suite", "own"] = "suite"

    @model_validator(mode="after")
    def _of_the_solver(self) -> Self:
        usual = type(self).model_fields
        if self.solver == "balanced":
            for key in ("tau", "regulariser"):
                if getattr(self, key) != usual[key].default:
                    raise ValueError(f"{key}: of solver=unbalanced only; leave it out")
        return self
