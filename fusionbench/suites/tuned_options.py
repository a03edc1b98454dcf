"""Options that a search found, fold by fold, in the file beside a tuned suite.

Each fold of each row has options of its own, found on that fold's training and validation cases alone, so that no test
case has had a say in the options that it is tested with.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusionbench.core.errors import SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.search_space import TRAIN
from fusionbench.suites.suite import dataset_for_folder, dataset_from_folder

if TYPE_CHECKING:
    from fusionbench.core.registry import Registry
    from fusionbench.suites.suite import Suite

Place = tuple[str, str, str, str, int, int]
"""Dataset, model and modalities as written, variant, repeat, fold."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Study(_Strict):
    """What one search came to.

    Attributes:
        split: hash of the fold that it searched within.
        value, default: objective of the chosen options and of the suite's own, mean over inner folds; `default` is None
            where those lie outside the search space.
        complete, pruned, failed: trials by how they ended; failure: why the first failed that did.
        options: of the model; `train`: keys of the recipe.
    """

    dataset: str
    model: str
    modalities: str
    variant: str
    repeat: int
    fold: int
    split: str
    value: float
    default: float | None = None
    complete: int
    pruned: int
    failed: int
    failure: str = ""
    options: Mapping[str, Any] = Field(default_factory=dict)
    train: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The cell that the search was for, without its seed."""
        return self.dataset, self.model, self.modalities, self.variant, self.repeat, self.fold

    @property
    def chosen(self) -> tuple[tuple[str, Any], ...]:
        """What was found, by the names of the search space."""
        train = {f"{TRAIN}{key}": value for key, value in self.train.items()}
        found = {**self.options, **train}
        return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(found.items()))


class Record(_Strict):
    """The file: how was searched, and every study."""

    suite: str
    command: str
    objective: str
    trials: int
    inner_folds: int
    seed: int
    study: tuple[Study, ...]


@dataclass(frozen=True)
class Tuned:
    """The studies of a suite by place; empty for a suite that is not tuned."""

    where: str = ""
    studies: Mapping[Place, Study] = field(default_factory=dict)

    def of(self, place: Place, split: str) -> Study | None:
        """The study of a cell; None for a model that was not tuned.

        Raises:
            SuiteError: its fold was not searched, or was another one then.
        """
        found = self.studies.get(place)
        if found is None:
            if any(known[1] == place[1] for known in self.studies):
                raise SuiteError(f"{self.where}: no study of {_told(place)}; tune this model anew")
            return None
        if found.split != split:
            raise SuiteError(
                f"{self.where}: {_told(place)} was tuned on another fold (the cohort, the seed or the protocol has "
                "changed since); tune this model anew"
            )
        return found


def read(suite: Suite, registry: Registry) -> Tuned:
    """The studies that a suite's key `tuned` names, a file beside it.

    Raises:
        SuiteError: it cannot be read, or its content is not that of a search; names the file and the key.
    """
    if suite.tuned is None:
        return Tuned()
    where, text = suite.read_beside("tuned")
    studies = parse(text, where).study
    if isinstance(suite.file, Path):
        studies = from_folder(studies, registry, suite.file.parent)
    return Tuned(where, {study.place: study for study in studies})


def from_folder(studies: Iterable[Study], registry: Registry, folder: Path) -> tuple[Study, ...]:
    """Studies of a file in `folder`, their datasets as seen from here."""
    return tuple(_renamed(s, dataset_from_folder(PluginRef.parse(s.dataset), registry, folder)) for s in studies)


def for_folder(studies: Iterable[Study], registry: Registry, folder: Path) -> tuple[Study, ...]:
    """The inverse: studies as a file in `folder` has to write them."""
    return tuple(_renamed(s, dataset_for_folder(PluginRef.parse(s.dataset), registry, folder)) for s in studies)


def _renamed(study: Study, dataset: PluginRef) -> Study:
    return study.model_copy(update={"dataset": str(dataset)})


def parse(text: str, where: str) -> Record:
    """A record from its text; `where` names the file in messages."""
    try:
        return Record.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{where}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise SuiteError(f"{where}: {key}: {first['msg']}{more}; write it anew with: fusionbench tune") from error


def _told(place: Place) -> str:
    dataset, model, modalities, variant, repeat, fold = place
    return f"{dataset} · {model} · {modalities} · {variant} · repeat {repeat} fold {fold}"
