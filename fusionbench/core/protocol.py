"""The two parts of a suite that make rows comparable, as values: the protocol and the training recipe.

Every switch is a key here; a variant changes keys, code does not branch on names of protocols.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from fusionbench.core.stages import Stage, check_stages, first_epochs


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Base = Literal["clean", "as-published"]
Share = Annotated[float, Field(ge=0, lt=1)]

AS_PUBLISHED: Mapping[str, Any] = MappingProxyType(
    {
        "unit": "slide",
        "fold_source": "random",
        "bins_from": "cohort",
        "fitted_on": "cohort",
        "impute": "mean",
        "clip": None,
        "scale": False,
        "vectors": "joined",
        "sd_ddof": 0,
    }
)
"""What HEALNet's published numbers rest on (Hemker et al. 2024; konst-int-i/healnet at 90459b6), switch by switch."""

AS_PUBLISHED_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "optimizer": "adam",
        "lr": 0.008,
        "weight_decay": 0.0,
        "batch_size": 8,
        "epochs": 50,
        "schedule": "onecycle",
        "patience": 5,
        "restore_best": False,
        "alpha": 0.4,
        "clamp": 1e-7,
        "class_weights": "inverse",
        "weight_on": "likelihood",
        "weight_sum": "one",
        "validation_loss": "as-trained",
        "l1": 1e-5,
        "l1_factor": 16.0,
    }
)
"""The training behind the same numbers; `l1` is that of BLCA, a suite of other cohorts sets theirs."""


class Protocol(_Strict):
    """Splits, masks and what is scored; the defaults are the `clean` protocol.

    Attributes:
        base: "as-published" sets every switch as HEALNet's publication has it at once; a key given beside it wins.
        unit: a row is a patient (all slides one bag), or a slide, whose group is still the patient.
        fold_source: "generated" folds, the cohort's "published" ones (validation cut from their train part), or
            "random" = `folds` independent splits of the rows into 70, 15 and 15 %, which look at neither groups nor
            events and whose test sets overlap.
        folds: number of folds; each is the test part once.
        repeats: how often the folds are drawn, each time with another seed.
        validation: share of the non-test cases that early stopping sees (of all rows where splits are random).
        bins: time bins wanted; tied quartiles merge.
        bins_from: whose uncensored quartiles the bins are: the "train" cases', or the whole "cohort"'s.
        fitted_on: whom preprocessing is fitted on: the "train" cases, or the whole "cohort".
        impute: what stands for a missing cell of a vector.
        clip: largest distance of a vector's cell from the median, in interquartile ranges; "none" = no clipping.
        scale: of vectors, bags and grids to mean 0 and standard deviation 1; false = as the files have them.
        vectors: "joined" gives a row's vectors to the models as one modality, side by side.
        test_patterns: missing-modality patterns scored from one trained model; `only:*` and `drop:*` expand.
            `file:PATH` is a CSV beside the suite.
        mask_draws: masks drawn for `half`, `rate:<p>`, `shuffle:<m>` and `mnar:<m>:<share>`.
        train_pattern: missing-modality pattern laid over training and validation cases; any but a shuffle, or
            `published:NAME`, masks that the dataset publishes.
        horizon: longest horizon tau in months for metrics that need one.
        sd_ddof: of the sd over folds in tables.
    """

    base: Base = "clean"
    unit: Literal["patient", "slide"] = "patient"
    fold_source: Literal["generated", "published", "random"] = "generated"
    folds: int = Field(5, ge=2)
    repeats: int = Field(1, ge=1)
    validation: float = Field(0.15, gt=0, lt=1)
    bins: int = Field(4, ge=2)
    bins_from: Literal["train", "cohort"] = "train"
    fitted_on: Literal["train", "cohort"] = "train"
    impute: Literal["median", "mean"] = "median"
    clip: float | None = Field(5.0, gt=0)
    scale: bool = True
    vectors: Literal["separate", "joined"] = "separate"
    test_patterns: tuple[str, ...] = ("full",)
    mask_draws: int = Field(10, ge=1)
    train_pattern: str = "full"
    horizon: float = Field(60.0, gt=0)
    sd_ddof: Literal[0, 1] = 1

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        return _with_base(given, AS_PUBLISHED)

    @field_validator("clip", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        """TOML has no null: a suite writes "none"."""
        return None if value == "none" else value

    @property
    def label(self) -> str:
        """The base, and what differs from it: `clean`, or `clean, unit=slide`."""
        usual = type(self)(base=self.base)
        changed = [k for k in AS_PUBLISHED if getattr(self, k) != getattr(usual, k)]
        return ", ".join([self.base, *(f"{k}={formatted(getattr(self, k))}" for k in changed)])


def formatted(value: object) -> str:
    """A switch's value as a suite writes it."""
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _with_base(given: Any, published: Mapping[str, Any]) -> Any:
    """What is given, over what its base sets."""
    if not isinstance(given, Mapping) or given.get("base") != "as-published":
        return given
    return {**published, **given}


_NEWER = frozenset(
    {
        *("compile", "label_smoothing", "betas", "lookahead", "lookahead_rate", "lookahead_start", "warmup", "hold"),
        *("decay_on", "l1_on", "group", "stage"),
    }
)


class ParameterGroup(_Strict):
    """Parameters that are trained at a rate or with a weight decay of their own.

    Attributes:
        parameters: names of parameters of the module, with `*` for any part of one, such as `factors.*`.
        lr: their rate, in place of `lr`.
        weight_decay: theirs, in place of `weight_decay`.
    """

    parameters: tuple[str, ...] = Field(min_length=1)
    lr: float | None = Field(None, ge=0)
    weight_decay: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _changes(self) -> ParameterGroup:
        if self.lr is None and self.weight_decay is None:
            raise ValueError("a group of parameters needs lr, weight_decay or both")
        return self


class TrainRecipe(_Strict):
    """How a torch model is trained; the same for every model of a suite. Defaults: PROTOCOLS, `clean`.

    A model may have a published recipe of its own, which its rows ask for by an option (`FusionModel.recipe`).

    Optional values are switched off by "none" in a suite, since TOML has no null.

    Attributes:
        base: "as-published" sets every key as HEALNet's publication has it at once; a key given beside it wins.
        optimizer: which one of torch's; "adamw" and "radamw" decouple weight decay from the gradient.
        betas: of Adam and its relatives: how slowly the means of gradient and its square change; none is 0.9, 0.999.
        lookahead: steps after which slow weights move towards the trained ones, which go on from there (Zhang et al.
            2019), around any optimizer; none is without.
        lookahead_rate: share of the way that the slow weights move.
        lookahead_start: the slow weights begin as the "initial" ones, or at the "first-sync", which then changes
            nothing, as a widespread implementation has it.
        momentum: of optimizer "sgd".
        weight_decay: of the optimizer; decoupled from the gradient with "adamw" and "radamw".
        decay_on: "matrices" leaves biases and other parameters with one axis out of the weight decay.
        group: parameters with a rate or a weight decay of their own; of two groups that name one the first counts.
        stage: parts of the training in which some parameters train and the others are frozen; they share out `epochs`.
        batch_size: cases of a batch.
        epochs: most epochs, of all stages together; early stopping may end before.
        cox_reduction: the partial likelihood of a batch is averaged over its "events" or over its "cases".
        lr: step size. Settled between 2e-4 and 3e-3 on synthetic cohorts and on validation folds of HANCOCK, BLCA and
            KIRP: at 2e-4 interactions are learnt late, from 1e-3 on the self-normalising networks are badly calibrated.
        loss: "nll" (discrete hazards; of classes their cross-entropy), "ce" (Zadeh and Schmid 2021) or "cox" (partial
            likelihood, one output).
        alpha: weight taken off the censored cases (nll) or given to the uncensored term (ce), in [0, 1].
        clamp: lower bound of probabilities; None is exact, 1e-7 is what MCAT and Porpoise publish.
        class_weights: weights of the time bins or classes, by the number of training cases in each.
        label_smoothing: share of a case's class that the loss spreads over all classes; of classes only.
        weight_sum: scale of class weights: "cases" = the weighted count is the count, "one" = they sum to 1 (HEALNet).
        weight_on: "likelihood" leaves class weights off the alpha term of `nll` (HEALNet).
        l1: strength of the sum of absolute parameters, once an optimiser step; times `l1_factor`.
        l1_on: names of the parameters that `l1` reaches, with `*` for any part of one; all where none is given.
        l1_factor: 16 in HEALNet's repository, which divides its loss by 16 and steps every batch.
        accumulate: batches whose gradients form one optimiser step.
        max_instances: instances drawn from a bag at each training epoch, in their order and with their coordinates;
            evaluation always sees all.
        schedule: "onecycle" rises to `lr` over 30 % of the steps, "cosine" and "linear" fall from `lr` to zero.
        warmup: epochs in which the rate first rises from zero, linearly; not with "onecycle".
        hold: epochs after the warm-up in which the rate stays at `lr`, before "cosine" or "linear" lets it fall.
        patience: epochs of the last stage without a better unweighted validation loss; None = train all epochs.
        validation_loss: what early stopping sees: the exact likelihood without weights and alpha, or the loss
            "as-trained".
        restore_best: test the weights of the best validation epoch; of the last stage, where there are stages.
        grad_clip: largest norm of the gradient; None = no clipping.
        amp: bfloat16 autocast on CUDA; ignored on the CPU.
        eval_batch_size: cases side by side when predicting; does not change results.
        compile: the training steps go through torch.compile, whose kernels round and draw dropout in their own way.
    """

    base: Base = "clean"
    optimizer: Literal["adamw", "adam", "radam", "radamw", "sgd"] = "adamw"
    lr: float = Field(5e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    decay_on: Literal["all", "matrices"] = "all"
    momentum: float = Field(0.0, ge=0, lt=1)
    betas: tuple[Share, Share] | None = None
    lookahead: int | None = Field(None, ge=1)
    lookahead_rate: float = Field(0.5, gt=0, le=1)
    lookahead_start: Literal["initial", "first-sync"] = "initial"
    group: tuple[ParameterGroup, ...] = ()
    stage: tuple[Stage, ...] = ()
    batch_size: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    epochs: int = Field(30, ge=1)
    schedule: Literal["constant", "cosine", "linear", "onecycle"] = "cosine"
    warmup: float = Field(0.0, ge=0)
    hold: float = Field(0.0, ge=0)
    loss: Literal["nll", "ce", "cox"] = "nll"
    alpha: float = Field(0.0, ge=0, le=1)
    clamp: float | None = Field(None, gt=0, lt=0.5)
    class_weights: Literal["none", "inverse", "inverse_root"] = "none"
    weight_sum: Literal["cases", "one"] = "cases"
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    weight_on: Literal["all", "likelihood"] = "all"
    cox_reduction: Literal["events", "cases"] = "events"
    l1: float = Field(0.0, ge=0)
    l1_on: tuple[str, ...] = ()
    l1_factor: float = Field(1.0, gt=0)
    grad_clip: float | None = Field(None, gt=0)
    patience: int | None = Field(10, ge=1)
    validation_loss: Literal["unweighted", "as-trained"] = "unweighted"
    restore_best: bool = True
    max_instances: int | None = Field(None, ge=1)
    amp: bool = True
    eval_batch_size: int = Field(32, ge=1)
    compile: bool = False

    @model_serializer(mode="wrap")
    def _written(self, usual: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without newer keys at their defaults: keys of cells and locks from before there were any stay as they are."""
        written: dict[str, Any] = usual(self)
        off = {name for name in _NEWER if getattr(self, name) == type(self).model_fields[name].default}
        return {name: value for name, value in written.items() if name not in off}

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        return _with_base(given, AS_PUBLISHED_TRAINING)

    @field_validator("clamp", "grad_clip", "patience", "max_instances", "betas", "lookahead", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        """TOML has no null: a suite writes "none"."""
        return None if value == "none" else value

    @model_validator(mode="after")
    def _consistent(self) -> TrainRecipe:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum belongs to optimizer 'sgd'; {self.optimizer!r} has none: set it to 0")
        if self.betas and self.optimizer == "sgd":
            raise ValueError("betas belong to Adam and its relatives; optimizer 'sgd' has momentum")
        if self.lookahead is None and (self.lookahead_rate, self.lookahead_start) != (0.5, "initial"):
            raise ValueError("lookahead_rate and lookahead_start belong to lookahead, which is off: set its steps")
        if self.schedule == "onecycle" and (self.warmup or self.hold):
            raise ValueError("schedule 'onecycle' has a warm-up of its own: leave warmup and hold out")
        if self.hold and self.schedule == "constant":
            raise ValueError("schedule 'constant' holds the rate to the end: leave hold out")
        if (taken := self.warmup + self.hold) > self.epochs:
            raise ValueError(f"warmup and hold take {taken:g} epochs, more than epochs = {self.epochs}")
        check_stages(self.stage, self.epochs)
        if self.loss == "cox" and (self.alpha or self.clamp or self.class_weights != "none"):
            raise ValueError("alpha, clamp and class_weights belong to time bins; with loss 'cox' leave them unset")
        if self.loss != "nll" and self.weight_on != "all":
            raise ValueError(f"weight_on='likelihood' belongs to loss 'nll', not {self.loss!r}")
        if self.loss == "cox" and self.batch_size < 2:
            raise ValueError("loss 'cox' compares the cases of a batch: set batch_size to 2 or more")
        return self

    @property
    def stage_begins(self) -> tuple[int, ...]:
        """The epoch, counted from 1, that each stage begins with; without stages, all epochs are one."""
        return tuple(first_epochs(self.stage))


def switch_table() -> str:
    """Every switch with its value under `clean` and `as-published`, as Markdown."""
    lines = ["| switch | `clean` | `as-published` |", "|---|---|---|"]
    parts = (("protocol", Protocol(), AS_PUBLISHED), ("train", TrainRecipe(), AS_PUBLISHED_TRAINING))
    for name, usual, published in parts:
        lines += [
            f"| `{name}.{key}` | {formatted(getattr(usual, key))} | {formatted(value)} |"
            for key, value in published.items()
        ]
    return "\n".join(lines)


def overlay(value: Protocol | TrainRecipe, changes: Mapping[str, Any]) -> Any:
    """`value` with `changes` laid over it, validated again; a `base` among them sets all of its switches first."""
    published = AS_PUBLISHED if isinstance(value, Protocol) else AS_PUBLISHED_TRAINING
    base: dict[str, Any] = {}
    if changes.get("base") == "as-published":
        base = dict(published)
    elif changes.get("base") == "clean":
        base = {k: v for k, v in type(value)().model_dump().items() if k in published}
    return type(value).model_validate({**value.model_dump(), **base, **changes})
