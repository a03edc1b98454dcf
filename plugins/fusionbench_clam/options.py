"""Options of `clam`. "Published" is mahmoodlab/CLAM at 53e2409."""

from __future__ import annotations

from typing import Literal, Self

from fusionbench_unimodal import BagOptions
from pydantic import Field, model_validator

_OF_INSTANCES = ("bag_weight", "count_censored", "instance_loss", "instances", "overlap", "subtyping")


class ClamOptions(BagOptions):
    """Options of `clam`. The layers that it shares with `abmil` are as wide as published.

    Attributes:
        branches: "one" attention for all outputs (CLAM-SB), or one for each output (CLAM-MB), whose logit is made of
            what that one pools. With fusion, what all of them pool is put side by side.
        gated: gated attention; else tanh alone. Published: on.
        attention_width: Published: 256 ("small") or 384 ("big").
        attention_dropout: on both factors of the gated attention. Published: .25, and none where `dropout` is 0.
        instance: what the loss on instances is told of a case: "off" = there is none (then CLAM-SB is `abmil`);
            "label" = the class, or the time bin of a case with an event; "event" = whether an event was observed; "bag"
            = nothing: one head tells the instances looked at most from those looked at least. Published: the class.
        instances: so many of those looked at most and of those looked at least count. Published: 8.
        instance_loss: "ce" (cross-entropy; published default) or "svm" (smooth top-1 SVM; published commands).
        subtyping: what is looked at most is evidence against all other classes, which exclude one another. Published:
            off by default, on for subtypes of tumours. Off, a head sees cases of its own class alone.
        bag_weight: of the task's loss; the loss on instances has the rest. Published: .7.
        count_censored: instance=label: cases without an event count as well, though their bin is only a lower bound.
        overlap: where a bag has fewer than twice `instances`, take as many of each as there are, so that some instances
            are looked at most and least at once. A published bug; else each half of the bag is one of the two.
        recipe: "own" = Adam at .0002, decay .00001, one case a step, 200 epochs, patience 20 (published commands,
            without their sampling by class; theirs never stop before epoch 51); "suite" = the suite's.
        start: "torch" = as torch does (published since April 2024); "xavier" = Xavier-normal weights, zero biases
            (before, and the paper).
    """

    branches: Literal["one", "output"] = "one"
    gated: bool = True
    attention_width: int = Field(256, ge=1)
    attention_dropout: float = Field(0.25, ge=0, lt=1)
    instance: Literal["off", "label", "event", "bag"] = "off"
    instances: int = Field(8, ge=1)
    instance_loss: Literal["ce", "svm"] = "ce"
    subtyping: bool = True
    bag_weight: float = Field(0.7, gt=0, lt=1)
    count_censored: bool = False
    overlap: bool = False
    recipe: Literal["suite", "own"] = "suite"
    start: Literal["torch", "xavier"] = "torch"

    @model_validator(mode="after")
    def _instances_are_told_something(self) -> Self:
        idle = {"off": _OF_INSTANCES, "event": ("count_censored",), "bag": ("count_censored", "subtyping"), "label": ()}
        for name in idle[self.instance]:
            if getattr(self, name) != ClamOptions.model_fields[name].default:
                raise ValueError(f"{name} has no effect with instance={self.instance}: leave it out")
        if self.fusion == "none" and self.hidden != ClamOptions.model_fields["hidden"].default:
            raise ValueError("hidden is of the layers behind a fusion: leave it out, or say fusion=concat or bilinear")
        return self
