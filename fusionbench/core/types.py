"""The values that packages and plugins hand to one another: frozen dataclasses; importing them loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, overload

from fusionbench.core.batch import NO_NEIGHBOUR as NO_NEIGHBOUR
from fusionbench.core.batch import Bag as Bag
from fusionbench.core.batch import Batch as Batch
from fusionbench.core.data_warning import DataWarning
from fusionbench.core.endpoints import ClassPrediction as ClassPrediction
from fusionbench.core.endpoints import ClassTarget as ClassTarget
from fusionbench.core.endpoints import ClassTargets as ClassTargets
from fusionbench.core.endpoints import Prediction as Prediction
from fusionbench.core.endpoints import SurvivalPrediction as SurvivalPrediction
from fusionbench.core.endpoints import SurvivalTarget as SurvivalTarget
from fusionbench.core.endpoints import SurvivalTargets as SurvivalTargets
from fusionbench.core.endpoints import Target as Target
from fusionbench.core.endpoints import Targets as Targets
from fusionbench.core.endpoints import Task as Task
from fusionbench.core.endpoints import TaskName as TaskName
from fusionbench.core.outputs import Outputs as Outputs
from fusionbench.core.outputs import StepPrediction as StepPrediction
from fusionbench.core.outputs import Steps as Steps
from fusionbench.core.plugin_ref import PluginRef

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

ModalityKind = Literal["vector", "bag", "grid"]


@dataclass(frozen=True)
class ModalitySpec:
    """What a model sees of one modality after preprocessing.

    Attributes:
        dim: width of an instance (a vector is a bag of one instance).
        groups: named feature groups, as column indices of the prepared vector; may overlap.
        features: names of the prepared columns, or empty where they have none.
        axes: 0 for vectors and bags, 1 to 3 for grids.
    """

    name: str
    kind: ModalityKind
    dim: int
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    axes: int = 0
    features: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """A name of its own for each column: `features`, or its number where they do not tell the columns apart."""
        named = len(set(self.features)) == self.dim
        return self.features if named else tuple(f"column {i}" for i in range(self.dim))


@dataclass(frozen=True)
class Case:
    """One row of a cohort.

    Attributes:
        id: the row.
        group: the patient (or site) that must stay on one side of a split.
        target: follow-up or class; None for new patients without one.
        refs: modality name to whatever that modality's `load` takes; an ABSENT KEY means missing.
    """

    id: str
    group: str
    target: Target | None
    refs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class RawBag:
    """A modality of one case as read from its source; a vector is a bag of one.

    Attributes:
        values: (instance, feature) float; a vector may hold NaN for missing cells, a bag may not.
        coords: (instance, axis) positions, or None.
        shape: extent of each axis for grids (row-major instances), else None.
        piece: (instance,) number of the file that an instance comes from, such as a slide, or None where all come from
            one. Coords of different pieces have nothing to do with one another.
    """

    values: NDArray[np.floating[Any]]
    coords: NDArray[np.floating[Any]] | None = None
    shape: tuple[int, ...] | None = None
    piece: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Piece:
    """Instances of a case that come from one file, such as the tiles of a slide.

    Attributes:
        name: of the file, without its ending.
        count: of the instances, which stand together in the bag.
        side: of the square that an instance covers, in the units of its coords; None where the file does not say.
    """

    name: str
    count: int
    side: float | None = None


@dataclass(frozen=True, eq=False)
class PreparedBag:
    """A modality of one case ready for a model: values (instance, feature) float32, finite.

    Attributes:
        piece: (instance,) int64, as in RawBag.
        neighbours: (instance, k) int64, as in Bag; only for a module that asks for them.
        tokens: whether a preparation made these in the place of the instances.
    """

    values: Tensor
    coords: Tensor | None = None
    shape: tuple[int, ...] | None = None
    piece: Tensor | None = None
    neighbours: Tensor | None = None
    tokens: bool = False


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """One case after preprocessing; an absent key in `bags` is a missing modality."""

    id: str
    bags: Mapping[str, PreparedBag]


@dataclass(frozen=True, eq=False)
class CaseSet(Sequence[PreparedCase]):
    """A lazy, picklable sequence of prepared cases.

    Attributes:
        cases: the underlying cases, in order.
        specs: what is declared of each modality, in the cell's order.
        targets: arrays in the order of `cases`, SurvivalTargets or ClassTargets by the task; None whenever the harness
            asks for predictions.
        prepare: turns a case and the names of its visible modalities into a PreparedCase.
        hidden: case id to the modalities that a missing-modality mask hides.
    """

    cases: tuple[Case, ...]
    specs: Mapping[str, ModalitySpec]
    targets: Targets[NDArray[Any]] | None
    prepare: Callable[[Case, tuple[str, ...]], PreparedCase]
    hidden: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        """Case ids, in order."""
        return tuple(case.id for case in self.cases)

    def visible(self, case: Case) -> tuple[str, ...]:
        """The modalities of `case` that are there and not hidden, in the order of `specs`."""
        hidden = self.hidden.get(case.id, frozenset())
        return tuple(name for name in self.specs if name in case.refs and name not in hidden)

    def __len__(self) -> int:
        return len(self.cases)

    @overload
    def __getitem__(self, index: int) -> PreparedCase: ...
    @overload
    def __getitem__(self, index: slice) -> CaseSet: ...
    def __getitem__(self, index: int | slice) -> PreparedCase | CaseSet:
        if isinstance(index, slice):
            return self.take(range(*index.indices(len(self))))
        case = self.cases[index]
        return self.prepare(case, self.visible(case))

    def __iter__(self) -> Iterator[PreparedCase]:
        return (self[i] for i in range(len(self)))

    def take(self, positions: Sequence[int]) -> CaseSet:
        """The cases at `positions`, in that order."""
        index = list(positions)
        targets = None if self.targets is None else self.targets.map(lambda array: array[index])
        return replace(self, cases=tuple(self.cases[i] for i in index), targets=targets)

    def without_targets(self) -> CaseSet:
        """The same cases as the harness hands them out for prediction: nobody's outcome is within reach."""
        if self.targets is None and all(case.target is None for case in self.cases):
            return self
        return replace(self, cases=tuple(replace(case, target=None) for case in self.cases), targets=None)

    def permuted(self, permutation: Mapping[str, Mapping[str, str]]) -> CaseSet:
        """The same cases, some of them with the modality of another case in place of their own.

        Args:
            permutation: modality to case id to the case of this set whose modality it is shown.
        """
        refs = {case.id: case.refs for case in self.cases}

        def shown(case: Case) -> Case:
            changed = {name: refs[source[case.id]][name] for name, source in permutation.items() if case.id in source}
            return replace(case, refs={**case.refs, **changed}) if changed else case

        return replace(self, cases=tuple(map(shown, self.cases)))

    def restrict(self, modalities: Sequence[str]) -> CaseSet:
        """The same cases seen through fewer modalities."""
        return replace(self, specs={name: self.specs[name] for name in modalities})


@dataclass(frozen=True, eq=False)
class Attention:
    """Where a model looks in one modality: the weights by which it chooses from items, averaged over its queries.

    Attributes:
        weights: (case, layer, head, item) float32. A row over the items sums to 1; it is zero where padded, and all
            zeros where the case lacks the modality. A model without layers or heads has one of each.
        parts: name of each item to the columns of the prepared vector that it stands for, in order; empty where the
            items are the instances of the bag, and a vector is a bag of one.
    """

    weights: Tensor
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fold:
    """Case ids of one split: training, validation and test; sorted tuples that have no id in common."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class MaskRow:
    """A modality of a case that is hidden.

    Attributes:
        fold: number of the outer fold where it is hidden, from 0; None = in every fold.
        repeat: number of the repeat, likewise.
        line: of the file it was read from; 0 = of none.
    """

    case: str
    modality: str
    fold: int | None = None
    repeat: int | None = None
    line: int = 0


@dataclass(frozen=True)
class Source:
    """A file to download into the data home.

    Attributes:
        path: place under the data home, `<source>/<path in the repository>`.
        sha256: hexadecimal; only its first digits, at least eight, where no more is published (weights of torchvision).
        terms: licence or terms in a few words.
        needs_accept: True where there is no licence or a non-commercial one: fetching asks for `--accept`.
        size: bytes, 0 = unknown.
        md5: for files of which no sha256 is published, such as those of the GDC.
    """

    path: str
    url: str
    sha256: str
    terms: str
    needs_accept: bool = False
    size: int = 0
    md5: str = ""


@dataclass(frozen=True)
class ModalityUse:
    """How a dataset declares one of its modalities: which plugin reads it, and what it knows of the columns.

    Attributes:
        modality: name of the modality plugin (`vector`, `bag`, `grid`, or a third party's).
        options: that plugin's options.
        features: names of the raw columns, in order; empty where they have none.
        categorical: names of those raw columns that hold codes without order (one-hot coded).
        groups: named groups of raw column names; a name may stand in several groups.
        levels: categorical column to its codes' texts, such as {"sex": {0.0: "f", 1.0: "m"}}; shown in place of the
            codes, and in no cell's key.
        checksum: sha256 of the file that this modality alone is read from, one of the dataset's checksums. It is in the
            keys of cells that read the modality; the cohort's fingerprint leaves out both, so that a modality that is
            added changes no other cell's key. Empty, as is usual: the fingerprint covers the modality.
        encoder: what made the features, as their files say it; empty where they do not. In no cell's key.
        dim: width of a raw instance.
    """

    modality: str
    dim: int
    options: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    categorical: frozenset[str] = frozenset()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    levels: Mapping[str, Mapping[float, str]] = field(default_factory=dict)
    checksum: str = ""
    encoder: str = ""

    def other_features(self, trained: ModalityUse) -> str:
        """How width or encoder differ from those that a model was fitted on, for a message; empty where they do not."""
        if self.dim == trained.dim and (self.encoder == trained.encoder or not (self.encoder and trained.encoder)):
            return ""
        there, here = (f"{of.dim} features{of.encoder and f' of {of.encoder}'}" for of in (trained, self))
        return f"was fitted on {there}, and this cohort has {here}"

    def level(self, column: str, code: float) -> str:
        """A level as people wrote it; its code where that is not known."""
        return self.levels.get(column, {}).get(code, f"{code:g}")


@dataclass(frozen=True)
class DatasetInfo:
    """What a dataset says of itself.

    Attributes:
        modalities: in their natural order.
        checksums: file name to sha256 of everything the cases were read from; empty for generated cohorts.
        task: what kind of endpoint is predicted.
        classes: names of the classes, where it is one of classes; of two the second is the positive one.
        endpoints: name to title of each endpoint that the cohort's option `endpoint` can choose.
        true_risk: case id to true risk, for cohorts whose hazards are known by construction.
        true_probability: case id to the true probability of each class, likewise.
        notes: one line each; printed under the tables.
        warnings: what looks wrong about how the files were read; `data check` adds what the values show.
    """

    title: str
    modalities: Mapping[str, ModalityUse]
    endpoint: str = "overall survival"
    citation: str = ""
    licence: str = ""
    checksums: Mapping[str, str] = field(default_factory=dict)
    task: TaskName = "survival"
    classes: tuple[str, ...] = ()
    endpoints: Mapping[str, str] = field(default_factory=dict)
    true_risk: Mapping[str, float] | None = None
    true_probability: Mapping[str, tuple[float, ...]] | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[DataWarning, ...] = ()


@dataclass(frozen=True)
class Member:
    """A model another model is built on, with the modalities it is given."""

    model: PluginRef
    modalities: tuple[str, ...]
