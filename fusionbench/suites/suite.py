"""A suite: which models run on which modalities of which datasets, under which protocol and recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources.abc import Traversable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from fusionbench.core.errors import SuiteError, file_problem
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol, TrainRecipe

BASE = "base"


def _ref(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return PluginRef.parse(value)
    except SuiteError as error:
        raise ValueError(str(error)) from error


def _sets(value: Any) -> Any:
    """Refuse what is neither a list of lists nor a table of them, before the union makes two riddles of it."""
    for sets in value.values() if isinstance(value, Mapping) else [value]:
        lists = isinstance(sets, (list, tuple)) and all(isinstance(s, (list, tuple)) for s in sets)
        if not lists or not sets or not all(isinstance(name, str) for s in sets for name in s):
            raise ValueError('write lists of names, [["clinical"], ["clinical", "omic"]], or such lists per dataset')
    return value


Ref = Annotated[PluginRef, BeforeValidator(_ref)]
ModalitySets = tuple[tuple[str, ...], ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Scope(_Strict):
    """What a variant is limited to; empty means everything.

    Attributes:
        models: names of models.
        datasets: names of datasets.
    """

    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()


class Variant(_Strict):
    """A named change of the suite; a name may stand again where the datasets it is limited to are others.

    Attributes:
        name: of the variant, as tables show it.
        protocol: keys of `[protocol]` to change.
        train: keys of `[train]` to change.
        model: model name to options to change.
        only: the models and datasets that it is limited to.
    """

    name: str
    protocol: Mapping[str, Any] = Field(default_factory=dict)
    train: Mapping[str, Any] = Field(default_factory=dict)
    model: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    only: Scope = Scope()


class External(_Strict):
    """Cohorts on which every model that was fitted on a dataset of the suite is tested.

    Attributes:
        train: a dataset of the suite, as it is written there.
        test: other cohorts, each `NAME` or `NAME[option=value]`.
    """

    train: Ref
    test: tuple[Ref, ...] = Field(min_length=1)


class Suite(_Strict):
    """A benchmark suite as written.

    Attributes:
        name: of a file of the user's own, the key `name`, else the stem of the file; an installed suite's is its stem.
        title: what it asks, for headings.
        datasets: cohorts, each `NAME` or `NAME[option=value]`.
        models: each `NAME` or `NAME[option=value]`.
        modalities: the same sets for every dataset, or one list of sets per dataset name.
        metrics: what predictions are scored with; the first one ranks. A metric that is added scores what is stored.
        seed: of every random choice.
        protocol: splits, masks and what is scored.
        train: how torch models are trained.
        variant: named changes, each run as a suite of its own beside the unchanged one.
        base: whether the unchanged suite runs beside its variants.
        external: cohorts that fitted models are tested on as a whole, beside the test folds.
        reference: CSV file of published rows beside the suite.
        claims: CSV file of published claims beside the suite.
        counts: CSV file of published counts of the cohorts beside the suite.
        tuned: file of options that `fusionbench tune` has found, beside the suite.
    """

    name: str
    title: str
    datasets: tuple[Ref, ...] = Field(min_length=1)
    models: tuple[Ref, ...] = Field(min_length=1)
    modalities: Annotated[ModalitySets | Mapping[str, ModalitySets], BeforeValidator(_sets)]
    metrics: tuple[str, ...] = Field(("harrell_c_index",), min_length=1)
    seed: int = Field(0, ge=0)
    protocol: Protocol = Protocol()
    train: TrainRecipe = TrainRecipe()
    variant: tuple[Variant, ...] = ()
    base: bool = True
    external: tuple[External, ...] = ()
    reference: str | None = None
    claims: str | None = None
    counts: str | None = None
    tuned: str | None = None
    _file: Traversable | None = PrivateAttr(None)
    _kept: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _narrowed: bool = PrivateAttr(False)
    _added: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def added(self) -> Mapping[str, str]:
        """Models that runs added to those of its file, as they are written, to the file of their class or nothing."""
        return {name: file for name, file in self._added.items() if name in map(str, self.models)}

    def with_added(self, models: Mapping[str, str]) -> Suite:
        """The suite with further models, each with the file of its class or nothing."""
        known = {str(model) for model in self.models}
        new = {ref: file for name, file in models.items() if str(ref := PluginRef.parse(name)) not in known}
        made = self.model_copy(update={"models": (*self.models, *new)})
        made._added = {**self._added, **{str(ref): file for ref, file in new.items()}}
        return made

    @property
    def narrowed(self) -> bool:
        """Whether the command line left out datasets, so that a metric may score none of those that stay."""
        return self._narrowed

    @property
    def file(self) -> Traversable | None:
        """The file that the suite was read from; None where it was made from a text."""
        return self._file

    def read_beside(self, key: str, name: str) -> tuple[str, str]:
        """The file beside the suite that one of its keys names: its path as messages show it, and its text.

        Raises:
            SuiteError: the file cannot be read as UTF-8 text.
        """
        folder = getattr(self._file, "parent", None)
        if folder is None and name in self._kept:
            return name, self._kept[name]
        try:
            if folder is None:
                raise FileNotFoundError("the suite is no file on disk")
            path = folder / os.path.expanduser(name)
            return str(path), path.read_text(encoding="utf-8")
        except (OSError, ValueError) as why:  # also no UTF-8, or a name that no file can have
            raise SuiteError(f"{self._file}: {key}: {file_problem(name, why, 'name a file of UTF-8 text')}") from why

    def variants(self) -> tuple[Variant, ...]:
        """Every variant to run, the unchanged suite first."""
        base = (Variant(name=BASE),) if self.base or not self.variant else ()
        return (*base, *self.variant)

    def sets_of(self, dataset: str) -> ModalitySets:
        """The modality sets asked of one dataset."""
        return self.modalities.get(dataset, ()) if isinstance(self.modalities, Mapping) else self.modalities
