"""Options of `lmf`. "Published" is Justin1904/Low-rank-Multimodal-Fusion at ea47551."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fusionbench import Options


class EmbeddingOptions(Options):
    """How each modality becomes one vector.

    Attributes:
        width: of each modality's vector, and of its three layers. Published: 4, 8 or 16 (audio, video), 32 to 128
            (text).
        bag: what makes a vector of a bag or a grid: "attention" = attention of learned queries on the instances (Lee et
            al. 2019); "mean" = the mean over the instances, then the three layers (published for audio and video,
            whose features come averaged over time); "lstm" = the last state of an LSTM that reads the instances in
            their order (published for text).
        queries: bag=attention: learned queries, each of which pools the bag once.
        batch_norm: normalise each column over the cases of a training batch. Published: on. Off, since the harness
            standardises over all training cases, and a case should not depend on its batch.
        dropout: on the input of the three layers, and on what the queries have pooled. Published: 0 to .5.
    """

    width: int = Field(32, ge=1)
    bag: Literal["attention", "mean", "lstm"] = "attention"
    queries: int = Field(4, ge=1)
    batch_norm: bool = False
    dropout: float = Field(0.15, ge=0, lt=1)


class LmfOptions(EmbeddingOptions):
    """Options of `lmf`.

    Attributes:
        rank: products that are summed. Published: 1, 4, 8 or 16.
        rank_weights: what the products are multiplied by: "learned" (published program) or "one" (the paper's formula).
        start: of what the constant 1 of a factor is multiplied by: "one", so that every product starts with a constant
            and each vector's own terms, whose gradients do not depend on the other vectors; or "xavier" (published),
            where the gradients of a factor shrink with the product of all others, the more modalities the faster.
        absent: a modality that a case lacks: "zero" = its vector is zero, so that its factor is what the constant 1
            gives: a learned number that keeps all products without it; "one" = its factor is 1.
        factor_lr: with recipe=own, the rate of the factors; drawn of .0003, .0005, .001 and .003 in the published
            search, which draws the rate of all else, .0005 here, in the same way.
        recipe: "own" = published, as far as one setting was: Adam, decay .002 on all parameters, batches of 32, up to
            500 epochs with patience 20 and constant rates; the sum of losses over a batch is their mean here.
    """

    rank: int = Field(4, ge=1)
    rank_weights: Literal["learned", "one"] = "learned"
    start: Literal["one", "xavier"] = "one"
    absent: Literal["zero", "one"] = "zero"
    factor_lr: float = Field(1e-3, gt=0)
    recipe: Literal["suite", "own"] = "suite"

    @model_validator(mode="after")
    def _rate_belongs_to_the_recipe(self) -> Self:
        if self.recipe == "suite" and self.factor_lr != LmfOptions.model_fields["factor_lr"].default:
            raise ValueError("factor_lr belongs to recipe=own: set recipe=own or leave factor_lr out")
        return self
