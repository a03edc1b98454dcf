"""The abstract classes that a plugin implements: modality, dataset and fusion model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fusionbench.core.checked import Checked
from fusionbench.core.contexts import FitContext, RestoreContext
from fusionbench.core.errors import DataError
from fusionbench.core.options import Options, path_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.predictor import Predictor
from fusionbench.core.preparation import Preparation, State
from fusionbench.core.search_space import SearchSpace
from fusionbench.core.stages import Stage
from fusionbench.core.types import (
    Case,
    CaseSet,
    DatasetInfo,
    Fold,
    MaskRow,
    Member,
    ModalityKind,
    ModalitySpec,
    ModalityUse,
    Piece,
    RawBag,
    Source,
    Task,
    TaskName,
)

if TYPE_CHECKING:
    from torch import Tensor


_Options = Options  # the classes below have an attribute of the same name


class Modality(Checked, ABC):
    """Reads one kind of data and fits its preprocessing on training cases."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    kind: ClassVar[ModalityKind]
    Options: ClassVar[type[_Options]] = _Options

    def __init__(self, name: str, use: ModalityUse, options: _Options) -> None:
        """`name` is the dataset's name for the modality (`clinical`); `use` is what the dataset declared."""
        self.label, self.use, self.options = name, use, options

    @abstractmethod
    def load(self, ref: Any) -> RawBag:
        """Read one case.

        Raises:
            DataError: naming file or case, what was seen and what was expected (width, NaN, no instance).
        """

    def pieces(self, ref: Any) -> Sequence[Piece]:
        """The files that a case's instances come from, in their order; empty where there is nothing to tell apart."""
        return ()

    def check(self, ref: Any) -> None:
        """Cheap validation before any compute; by default it loads. Override where loading is expensive."""
        self.load(ref)

    @abstractmethod
    def fit(self, train: Iterable[RawBag]) -> FittedModality:
        """Fit on training cases only; `train` may be iterated once and is lazy."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> FittedModality:
        """The inverse of `FittedModality.state`."""

    def check_new_cohort(self, trained: ModalityUse) -> None:
        """Refuse a cohort, by its declaration alone, whose cases cannot be read by what was fitted on `trained`.

        Called on the new cohort's modality, also before any compute. Override where other features can be read; by
        default they have to be the same: of one width and, where both cohorts name it, of one encoder.

        Raises:
            DataError: what differs, and what to do.
        """
        if difference := self.use.other_features(trained):
            raise DataError(f"modality {self.label!r} {difference}; extract them with the same encoder")

    def restore_for_new_cohort(self, state: Mapping[str, Any], trained: ModalityUse) -> FittedModality:
        """`restore` for another cohort than it was fitted on, which declared the modality as `trained`.

        Override together with `check_new_cohort`.

        Raises:
            DataError: this cohort's cases cannot be prepared by it.
        """
        self.check_new_cohort(trained)
        return self.restore(state)


class FittedModality(ABC):
    """Preprocessing that knows training cases only."""

    spec: ModalitySpec

    @abstractmethod
    def __call__(self, raw: RawBag) -> Tensor:
        """(instance, feature) float32, finite; width `spec.dim`."""

    @abstractmethod
    def mean(self) -> Tensor:
        """(feature,) float32: the prepared training mean, used where the harness imputes a missing modality."""

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Everything needed to restore it, as JSON values."""

    def differences(self, raws: Iterable[RawBag]) -> Sequence[str]:
        """How the raw values of a new cohort's cases differ from those of the training cases, one line each."""
        return ()


class Dataset(Checked, ABC):
    """A cohort. `home` is the data home; nothing is read or downloaded before `cases` or `info`.

    Attributes:
        own_files: its files are the user's, named by an option. Such a dataset has a classmethod `example(folder)`,
            which writes a small cohort there and returns the options that read it, so that it can be checked.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    Options: ClassVar[type[_Options]] = _Options
    own_files: ClassVar[bool] = False

    def __init__(self, options: _Options, home: Path) -> None:
        self.options, self.home = options, home

    @property
    def identity(self) -> PluginRef:
        """Name and options that say which cohort it is, wherever its files lie: no path, nothing at its default.

        Random choices depend on it, and the content of the files is in the fingerprint. Override where a path is a
        part of an option.
        """
        chosen = self.options.model_dump(mode="json", exclude_defaults=True, exclude=set(path_options(self.Options)))
        return PluginRef.of(self.name, **{key: _as_written(value) for key, value in chosen.items()})

    @abstractmethod
    def info(self) -> DatasetInfo:
        """What the cohort is: its modalities with their columns, endpoint, licence and checksums.

        Raises:
            DataError: as `cases`.
        """

    @abstractmethod
    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """All cases, in a stable order; times in months.

        Raises:
            DataError: a file is missing (naming the command that fetches it), damaged or inconsistent.
        """

    def folds(self) -> Sequence[Fold] | None:
        """The cohort's published folds over patients (`val` empty where none is published), or None."""
        return None

    def masks(self) -> Mapping[str, Sequence[MaskRow]]:
        """Published masks of training patients by name, for `train_pattern = "published:NAME"`; of the published folds.

        Raises:
            DataError: as `cases`.
        """
        return {}

    def sources(self) -> Sequence[Source]:
        """The files `fusionbench data fetch` downloads for these options."""
        return ()

    def slides(self, fetch: Callable[[Source], Path]) -> Sequence[Source]:
        """The whole-slide images behind the cohort, with size and md5, for `fusionbench data fetch --slides`.

        Args:
            fetch: brings a small file, such as a manifest, into the data home if it is not there, and gives its place.
        """
        return ()

    def convert(self, raw_dir: Path, out_dir: Path) -> None:
        """Turn downloaded files into the tidy files that `cases` reads; called after a fetch."""


def _as_written(value: Any) -> Any:
    """A whole number without its `.0`: `noise=2` and `noise=2.0` are one choice."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class FusionModel(Checked, ABC):
    """A way to fuse modalities into a prediction.

    Attributes:
        tasks: the kinds of endpoints it takes; its rows of another kind are skipped with that reason.
        binary_outputs: width of its output on two classes: 2, or 1 for the logit of the positive class alone.
        missing: "native" = takes cases with a proper subset of the modalities; "impute" = the harness fills a
            missing modality with its training mean (one instance for a bag); printed in the policy column.
        licence: of the implementation.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    Options: ClassVar[type[_Options]] = _Options
    missing: ClassVar[Literal["native", "impute"]] = "impute"
    tasks: ClassVar[tuple[TaskName, ...]] = ("survival",)
    binary_outputs: ClassVar[Literal[1, 2]] = 2

    def __init__(self, options: _Options) -> None:
        self.options = options

    def skip(self, task: Task, specs: Mapping[str, ModalitySpec]) -> str | None:
        """Why this model cannot take these modalities, in words a user understands; None where it can.

        Called while planning, with the raw widths; `task.edges` is empty then.
        """
        return None

    def members(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Member]:
        """Models whose predictions this one builds on; the harness fits each once per fold, whoever needs it."""
        return ()

    def preparations(self, task: Task, specs: Mapping[str, ModalitySpec]) -> Sequence[Preparation]:
        """What is to be prepared from the training cases before this model is fitted; models share what is the same.

        Called while planning, too, with the raw widths.
        """
        return ()

    def recipe(self) -> Mapping[str, Any]:
        """What this model changes of the suite's `[train]`: its published recipe, where an option asks for it.

        Empty by default, and with default options, so that rows are comparable; the table marks other rows.
        """
        return {}

    def stages(self) -> Sequence[Stage]:
        """The stages of the training, in place of the suite's; empty as `recipe`, and with default options.

        They share out `train.epochs` and begin where the one before ends; the module may hold weights of members, see
        `fusionbench.nn.load_member`.
        """
        return ()

    def search_space(self) -> SearchSpace:
        """What `fusionbench tune` may choose from: options of this model and `train.` keys of the recipe.

        Empty where there is nothing to choose, or where the model chooses by itself.
        """
        return {}

    @abstractmethod
    def fit(self, train: CaseSet, val: CaseSet, ctx: FitContext) -> Predictor:
        """Fit on the training cases; the validation cases may choose among fits (early stopping), no more.

        Raises:
            FusionBenchError: it cannot be fitted on these cases; the cell fails with that reason.
        """

    @abstractmethod
    def restore(self, state: State, ctx: RestoreContext) -> Predictor:
        """The predictor whose `state` these arrays are; it predicts the same."""
