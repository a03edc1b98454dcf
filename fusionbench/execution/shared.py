"""What the cells of one process share: loaded cohorts, fitted preprocessors, the device."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench.core.data_warning import DataWarning
from fusionbench.core.errors import DataError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.data.cohort import Cohort, load_cohort
from fusionbench.data.feature_cache import current_cache
from fusionbench.data.inspection import warnings_of
from fusionbench.data.inspection.between import compare_cohorts
from fusionbench.data.masks import Mask
from fusionbench.data.preparations import FittedPreparation
from fusionbench.data.preprocessing import Preprocessor, fit_preprocessor
from fusionbench.data.protocol_view import JOIN, apply_protocol
from fusionbench.suites.cell import Cell, train_mask

if TYPE_CHECKING:
    import torch

KEPT_PREPROCESSORS = 64
"""Fitted modalities kept; a fold of the largest suites here has fewer, and cells of one fold run together."""
KEPT_PREPARATIONS = 4
"""Fold-wise preparations kept with the tokens of their cases, each up to 256 MiB a modality."""


@dataclass
class SharedResources:
    """Caches by content; nothing here changes a result, only how often it is computed.

    Attributes:
        device_name: auto, cpu or cuda.
        threads: CPU threads of a cell; None = by the size of its cases.
        cores: most threads that a cell with large cases takes then; None = every core.
        deterministic: only algorithms that give the same bits every time.
        stored_states: what preparations have made may come from disk.
    """

    registry: Registry
    home: Path
    device_name: str = "cpu"
    threads: int | None = field(default=None, kw_only=True)
    cores: int | None = field(default=None, kw_only=True)
    deterministic: bool = field(default=False, kw_only=True)
    stored_states: bool = field(default=True, kw_only=True)
    _cohorts: dict[tuple[PluginRef, str], Cohort] = field(default_factory=dict)
    _new_patients: dict[tuple[PluginRef, str], Cohort] = field(default_factory=dict)
    _warnings: dict[tuple[PluginRef, str], tuple[DataWarning, ...]] = field(default_factory=dict)
    _between: dict[tuple[PluginRef, PluginRef, str], tuple[DataWarning, ...]] = field(default_factory=dict)
    _protocol_cohorts: dict[tuple[object, ...], Cohort] = field(default_factory=dict)
    _fitted: OrderedDict[tuple[object, ...], Preprocessor] = field(default_factory=OrderedDict)
    _prepared: OrderedDict[str, FittedPreparation] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        current_cache()  # a wrong setting is reported before anything is read

    @cached_property
    def device(self) -> torch.device:
        """The device that cells are computed on.

        Raises:
            SuiteError: CUDA was asked for, and there is none.
        """
        from fusionbench.nn import pick_device  # loads torch, which planning does without

        if self.deterministic:
            from fusionbench.execution.device import ask_deterministic_cublas

            ask_deterministic_cublas()  # before anything runs on CUDA
        return pick_device(self.device_name)

    def cohort(self, ref: PluginRef, unit: str) -> Cohort:
        """The cohort, read and checked once.

        Raises:
            SuiteError: unknown dataset or option. DataError: a file or the cohort is faulty.
        """
        known = (ref, unit)
        if known not in self._cohorts:
            self._cohorts[known] = self._loaded(ref, unit)
        return self._cohorts[known]

    def warnings(self, ref: PluginRef, unit: str) -> tuple[DataWarning, ...]:
        """What looks wrong about the cohort, looked for once.

        Raises:
            SuiteError: unknown dataset or option. DataError: a file or the cohort is faulty.
        """
        known = (ref, unit)
        if known not in self._warnings:
            cohort = self.cohort(ref, unit)
            with self.reading(ref):
                self._warnings[known] = warnings_of(cohort)
        return self._warnings[known]

    def between(self, train: PluginRef, test: PluginRef, unit: str) -> tuple[DataWarning, ...]:
        """What makes a test of models that are fitted on one cohort doubtful on another, looked for once.

        Raises:
            SuiteError: unknown dataset or option. DataError: a file or a cohort is faulty.
        """
        known = (train, test, unit)
        if known not in self._between:
            fitted_on, tested = self.cohort(train, unit), self.new_patients(test, unit)
            with self.reading(test):
                self._between[known] = compare_cohorts(fitted_on, tested).warnings
        return self._between[known]

    def cohort_of(self, cell: Cell) -> Cohort:
        """The cell's cohort as its protocol wants it read."""
        return self._protocol_cohort(cell, cell.modalities)

    def _protocol_cohort(self, cell: Cell, modalities: tuple[str, ...]) -> Cohort:
        protocol = cell.protocol
        known = (cell.dataset, protocol.unit, protocol.vectors, *_reading(cell), modalities)
        if known not in self._protocol_cohorts:
            named = tuple(part for name in modalities for part in name.split(JOIN))
            self._protocol_cohorts[known] = apply_protocol(self.cohort(cell.dataset, protocol.unit), protocol, [named])
        return self._protocol_cohorts[known]

    def new_patients(self, ref: PluginRef, unit: str) -> Cohort:
        """A cohort to predict on, read once: targets, columns and modalities may be absent."""
        known = (ref, unit)
        if known not in self._new_patients:
            self._new_patients[known] = self._loaded(ref, unit, new_patients=True)
        return self._new_patients[known]

    def _loaded(self, ref: PluginRef, unit: str, *, new_patients: bool = False) -> Cohort:
        cls, options = self.registry.dataset(ref.name), validate_options(self.registry, "datasets", ref)
        with self.reading(ref):
            return load_cohort(cls(options, self.home), self.registry.modalities, unit, new_patients=new_patients)

    def reading(self, ref: PluginRef) -> AbstractContextManager[None]:
        """Around calls into a dataset and its readers: what they change of the process is put back and named."""
        return guarded(f"reading dataset {ref}", self.registry.note)

    def train_mask(self, cell: Cell) -> Mask:
        """Which modalities are hidden from training and validation; the same for every model and for its members."""
        return train_mask(cell, self._protocol_cohort(cell, cell.masked_over or cell.modalities).cases)

    def preprocessor(self, cell: Cell, cohort: Cohort, hidden: Mapping[str, frozenset[str]]) -> Preprocessor:
        """Fitted on the training cases that show a modality; one fit per modality and fold, whoever asks.

        A protocol may have it fitted on the whole cohort instead; the ledger then says so.

        Raises:
            DataError: no training case has a modality, or the training pattern hides it from all that have it.
        """
        cases = {c.id: c for c in cohort.cases}
        everyone = cell.split.train if cell.protocol.fitted_on == "train" else tuple(sorted(cases))
        parts = []
        for name in cell.modalities:
            having = [i for i in everyone if name in cases[i].refs]
            seen = tuple(i for i in having if name not in hidden.get(i, ()))
            if not seen:
                none = f"none of {len(everyone)} training cases has modality {name!r}"
                hides = (
                    f"the training pattern hides modality {name!r} from all {len(having)} training cases that have it"
                )
                raise DataError(f"{hides if having else none}; leave it out or take other folds")
            known = (cell.dataset, cell.protocol.unit, *_reading(cell), name, seen)
            if known not in self._fitted:
                self._fitted[known] = fit_preprocessor({name: cohort.modalities[name]}, [cases[i] for i in seen])
                if len(self._fitted) > KEPT_PREPROCESSORS:
                    self._fitted.popitem(last=False)
            self._fitted.move_to_end(known)
            parts.append(self._fitted[known])
        return Preprocessor.merge(parts)

    def preparation(self, key: str) -> FittedPreparation | None:
        """What a preparation has made, by its key; None where this process does not have it."""
        if key in self._prepared:
            self._prepared.move_to_end(key)
        return self._prepared.get(key)

    def keep_preparation(self, made: FittedPreparation) -> None:
        """Keep it in the place of the one that was asked for the longest ago."""
        self._prepared[made.key] = made
        if len(self._prepared) > KEPT_PREPARATIONS:
            self._prepared.popitem(last=False)


def _reading(cell: Cell) -> tuple[object, ...]:
    """What of the protocol the readers depend on."""
    return cell.protocol.impute, cell.protocol.clip, cell.protocol.scale
