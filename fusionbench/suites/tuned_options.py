"""Options that a search found, fold by fold, in the file beside a tuned suite.

Each fold of each row has options of its own, found on that fold's training and validation cases alone, so that no test
case has influenced the options that it is tested with.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusionbench.core.errors import SuiteError
from fusionbench.core.search_space import TRAIN
from fusionbench.suites.cell import CellPosition

if TYPE_CHECKING:
    from fusionbench.suites.suite import Suite


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Study(_Strict):
    """The result of one search.

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
    def position(self) -> CellPosition:
        """The cell that the search was for, without its seed."""
        return self.dataset, self.model, self.modalities, self.variant, self.repeat, self.fold

    @property
    def chosen(self) -> tuple[tuple[str, Any], ...]:
        """What was found, by the names of the search space."""
        train = {f"{TRAIN}{key}": value for key, value in self.train.items()}
        found = {**self.options, **train}
        return tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(found.items()))


class TuningRecord(_Strict):
    """The content of the file: the settings of the search, and every study."""

    suite: str
    command: str
    objective: str
    trials: int
    inner_folds: int
    seed: int
    study: tuple[Study, ...]


@dataclass(frozen=True)
class TunedOptions:
    """The studies of a suite by position; empty for a suite that is not tuned."""

    where: str = ""
    studies: Mapping[CellPosition, Study] = field(default_factory=dict)

    def of(self, position: CellPosition, split: str) -> Study | None:
        """The study of a cell; None for a model that was not tuned.

        Raises:
            SuiteError: its fold was not searched, or was another one then.
        """
        found = self.studies.get(position)
        if found is None:
            if any(known[1] == position[1] for known in self.studies):
                raise SuiteError(f"{self.where}: no study of {_label(position)}; tune this model anew")
            return None
        if found.split != split:
            raise SuiteError(
                f"{self.where}: {_label(position)} was tuned on another fold (the cohort, the seed or the protocol has "
                "changed since); tune this model anew"
            )
        return found


def read_tuned(suite: Suite) -> TunedOptions:
    """The studies that a suite's key `tuned` names, a file beside it.

    Raises:
        SuiteError: it cannot be read, or its content is not that of a search; names the file and the key.
    """
    if suite.tuned is None:
        return TunedOptions()
    where, text = suite.read_beside("tuned", suite.tuned)
    return TunedOptions(where, {study.position: study for study in parse_record(text, where).study})


def parse_record(text: str, where: str) -> TuningRecord:
    """A record from its text; `where` names the file in messages."""
    try:
        return TuningRecord.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(f"{where}: not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise SuiteError(
            f"{where}: {key}: {first['msg']}{more}; write it anew with: fusionbench tune SUITE -m MODEL"
        ) from error


def _label(position: CellPosition) -> str:
    dataset, model, modalities, variant, repeat, fold = position
    return f"{dataset} · {model} · {modalities} · {variant} · repeat {repeat} fold {fold}"
