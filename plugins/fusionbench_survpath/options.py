"""Options of `survpath`. "Published" is mahmoodlab/SurvPath at 3f73ddd; every default is the published one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fusionbench import Options

Width = Annotated[int, Field(ge=1)]


class SurvPathOptions(Options):
    """Options of `survpath`.

    Attributes:
        groups: what becomes a token: "declared" = each declared group of a vector (published: 50, 281 or 331 pathways),
            and a vector without groups as a whole; "one" = all vectors side by side as a single token.
        group_widths: of the layers on each group; the last is the width of every token. Attention, the layers after it
            and the pooled tokens are half as wide, the hidden layer of the output a quarter. Published: 256, 256.
        dropout: of the groups' layers. Published: .25.
        dropout_kind: of the groups' layers. Published: "alpha".
        feedforward_dropout: within the layers after the attention. Published: .1.
        padding: "masked" = only a case's own instances count; "attended" = in training a bag of fewer than `padded_to`
            instances is filled up with rows of zeros that count as instances. A published bug.
        padded_to: of padding=attended. Published: 4,096.
        recipe: "own" = trained as published around the paper: RAdam with decoupled weight decay, 5 epochs at a constant
            rate, alpha = .5, one case a step, 4,096 patches, the last epoch's weights; for survival. The published
            sampler, which draws cases with replacement by bin and censoring, is not there, and expression is
            standardised column by column, where published by one range of all genes.
        head_scale: multiplies the output layer's start. Published: 1.
    """

    groups: Literal["declared", "one"] = "declared"
    group_widths: tuple[Width, ...] = Field((256, 256), min_length=1)
    dropout: float = Field(0.25, ge=0, lt=1)
    dropout_kind: Literal["alpha", "plain"] = "alpha"
    feedforward_dropout: float = Field(0.1, ge=0, lt=1)
    padding: Literal["masked", "attended"] = "masked"
    padded_to: int = Field(4096, ge=1)
    recipe: Literal["suite", "own"] = "suite"
    head_scale: float = Field(1.0, gt=0)

    @property
    def width(self) -> int:
        """Of a token."""
        return self.group_widths[-1]

    @model_validator(mode="after")
    def _belongs_together(self) -> Self:
        if self.width % 4:
            raise ValueError(f"the last of group_widths ({self.width}) must be a multiple of 4")
        if self.padding == "masked" and self.padded_to != type(self).model_fields["padded_to"].default:
            raise ValueError("padded_to: of padding=attended only; leave it out")
        return self
