"""Options of `pathomic-fusion`. "Published" is mahmoodlab/PathomicFusion at 44b5513."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from fusionbench import Options

Width = Annotated[int, Field(ge=1)]


class PathomicOptions(Options):
    """Options of `pathomic-fusion`; defaults are those of the released survival runs where they name a value.

    Path, graph and omic are the roles of the modalities: path is the first bag or grid (the first vector where there is
    none), omic is the last vector, graph the third modality where there are three.

    Attributes:
        path, omic: names of the modalities with these roles; empty = as above.
        pairs: which two vectors gate the graph's: "A" = graph and omic, "B" = graph and path. The others are gated by
            path and omic.
        gate: a gate is a "bilinear" form of its two vectors (published default) or a "linear" map of both.
        gate_path, gate_graph, gate_omic: gate the role's vector. Off, its reducing layer is not there either.
            Published: on; released survival runs: omic off.
        scale_path, scale_graph, scale_omic: a vector is reduced to its width divided by this. Published: 1; released
            runs with a graph: 2 for it.
        skip: append the reduced vectors before the last layer. Released: off; class default: on.
        path_width, graph_width: of the path's and the graph's vectors. Published: 32.
        omic_widths: of the self-normalising layers on omic; the last is its vector's. Published: 64, 48, 32, 32.
        fusion_width: of both layers on the product. Released: 64; class defaults: 64 and 96.
        queries: learned queries, each of which pools a bag once (Lee et al. 2019); in place of the published network on
            image patches.
        dropout: everywhere. Published: .25.
        bounded: 6 sigmoid(logit) - 3 in place of the logit, within (-3, 3). Published for Cox; here with loss=cox.
        head_scale: multiplies the output layer's start. Published: 1.
        alone: the network of one role with a head of its own, on one modality; published, it is trained first.
        pretrained: the networks of all roles are trained alone, on this fold, and loaded; they are frozen for
            `frozen_epochs`, that of path for good. Published: on.
        frozen_epochs: of `train.epochs`, where `pretrained`. Published: 4.
        recipe: `own` trains as the released survival runs, also the networks that are trained alone; it sets
            `bounded` and, of the whole, `pretrained`.
    """

    path: str = ""
    omic: str = ""
    pairs: Literal["A", "B"] = "A"
    gate: Literal["bilinear", "linear"] = "bilinear"
    gate_path: bool = True
    gate_graph: bool = True
    gate_omic: bool = False
    scale_path: int = Field(1, ge=1)
    scale_graph: int = Field(1, ge=1)
    scale_omic: int = Field(1, ge=1)
    skip: bool = False
    path_width: Width = 32
    graph_width: Width = 32
    omic_widths: tuple[Width, ...] = Field((64, 48, 32, 32), min_length=1)
    fusion_width: Width = 64
    queries: int = Field(4, ge=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    bounded: bool = False
    head_scale: float = Field(1.0, gt=0)
    alone: Literal["", "path", "graph", "omic"] = ""
    pretrained: bool = False
    frozen_epochs: int = Field(4, ge=1)
    recipe: Literal["suite", "own"] = "suite"

    @model_validator(mode="before")
    @classmethod
    def _as_released(cls, given: Any) -> Any:
        """Resolve before validation, so that the options' values (and the cell key made of them) are what runs."""
        if not isinstance(given, Mapping) or given.get("recipe") != "own":
            return given
        return {"bounded": True, "pretrained": not given.get("alone"), **given}

    @model_validator(mode="after")
    def _alone_or_whole(self) -> Self:
        if self.alone and self.pretrained:
            raise ValueError(f"alone={self.alone} is what is trained first: leave pretrained out")
        if not self.pretrained and self.frozen_epochs != type(self).model_fields["frozen_epochs"].default:
            raise ValueError("frozen_epochs is of pretrained=true: leave it out")
        return self

    @model_validator(mode="after")
    def _wide_enough(self) -> Self:
        widths = {"path": self.path_width, "graph": self.graph_width, "omic": self.omic_widths[-1]}
        for role, width in widths.items():
            scale = getattr(self, f"scale_{role}")
            if width < scale:
                raise ValueError(f"scale_{role}={scale} divides a vector of width {width}: it must be at least as wide")
        return self
