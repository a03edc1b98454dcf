"""Options of `multimodn`. "Published" is EPFLiGHT/MultiModN at 9920619; MIMIC and Titanic are its experiments."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fusionbench import Options

START = "start"
"""The step before any modality."""
Width = Annotated[int, Field(ge=1)]


class MultiModNOptions(Options):
    """Options of `multimodn`.

    Layers are wider than published: of 50 and 32, it did not find in 60 epochs at the suites' rate what two modalities
    say together. It takes some 15 epochs at these widths, and early stopping may come first.

    Attributes:
        state: width of the state. Published: 50 (MIMIC), 1 to 5 (Titanic).
        encoder: "full" = features and state go through all layers, each with an activation, so that the state after a
            modality is never negative with ReLU (MIMIC); "late" = the state enters the last layer alone, which has no
            activation (published default).
        hidden: widths of the hidden layers of each encoder; empty = one linear map. Published: 32, 32 (MIMIC).
        decoder: widths of the hidden layers of the decoder. Published: 32, 32 (MIMIC), none (Titanic).
        activation: of the encoders; the decoder's is always ReLU.
        dropout: on what enters the first layer of an encoder: features and state with "full" (published: .2), features
            alone with "late" (published: 0); and on what is pooled of a bag.
        bag: what makes the features of a bag or a grid: "attention" of learned queries on the instances (Lee et al.
            2019), or their "mean". Published: 512 features of an image by a ResNet-18.
        bag_width: features that "attention" makes of a bag.
        queries: bag=attention: learned queries, each of which pools the bag once.
        order: names of modalities in the order in which they are read, such as ["omic", "image"]; it has to name every
            modality of a row and may name others. Empty = the suite's order.
        shuffle: read the modalities of each training batch in an order drawn at random; elsewhere in the given order.
            Published: off.
        error_penalty: weight of the task's loss over the steps. Published: 1 (MIMIC), .7 (Titanic).
        change_penalty: weight of the mean squared change of the state by a modality. Published programs multiply theirs
            by .01 unseen: 0 (MIMIC), .003 where they say .3 (Titanic).
        denominators: "constant" = both losses of a case are divided by the steps that there are, so that a case with
            fewer modalities weighs less (published); "taken" = means over all steps that cases have taken, of each part
            by itself where `train.max_tokens` splits a batch.
        skip_whole_batch: in training, a modality that one case of a batch lacks is skipped for all of them. A published
            bug, there at test as well: the share without the modality is then larger than it is said to be.
        recipe: "own" = Adam at .001 without decay, 100 epochs, batch 16 (MIMIC); "suite" = the suite's.
        squash: the logits are a sigmoid of what the decoder gives. A published bug: softmax or sigmoid follow.
    """

    state: int = Field(256, ge=1)
    encoder: Literal["full", "late"] = "full"
    hidden: tuple[Width, ...] = (256,)
    decoder: tuple[Width, ...] = (256,)
    activation: Literal["relu", "tanh", "sigmoid", "elu", "gelu", "leaky_relu", "selu"] = "relu"
    dropout: float = Field(0.1, ge=0, lt=1)
    bag: Literal["attention", "mean"] = "attention"
    bag_width: int = Field(32, ge=1)
    queries: int = Field(4, ge=1)
    order: tuple[str, ...] = ()
    shuffle: bool = False
    error_penalty: float = Field(1.0, gt=0)
    change_penalty: float = Field(0.003, ge=0)
    denominators: Literal["constant", "taken"] = "constant"
    skip_whole_batch: bool = False
    recipe: Literal["suite", "own"] = "suite"
    squash: bool = False

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if twice := [name for name in dict.fromkeys(self.order) if self.order.count(name) > 1]:
            raise ValueError(f"order names {', '.join(twice)} twice: each modality is read once")
        for name in ("bag_width", "queries") if self.bag == "mean" else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is of bag=attention: leave it out")
        return self
