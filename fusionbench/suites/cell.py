"""Cells and plans as values: one model on one fold, and all cells of a suite in running order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.protocol import Protocol, TrainRecipe
from fusionbench.core.search_space import TRAIN
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, Fold, Member, Task
from fusionbench.data.masks import NOTHING, Hidden, Mask, make_masks
from fusionbench.suites.suite import BASE, Suite
from fusionbench.tasks import task_kind

RESULTS_VERSION = 3
"""Bumped when a change of the core changes results or what keys are made of; part of every key.

3: keys and seeds hold no path, and numbers are rounded before they are hashed. Numbers are those of version 2, except
of suites of the user's own files.
"""

ORACLE = "oracle"
"""The row of the oracle baseline: the true hazards or class probabilities, where a cohort knows them."""

CellPosition = tuple[str, str, str, str, int, int]
"""Dataset, model and modalities as written, variant, repeat, fold: the position of a cell in its suite."""
POSITION_NAMES = ("dataset", "model", "modalities", "variant", "repeat", "fold")
"""Names of the parts of a `CellPosition`, as the stored tables have them."""


@dataclass(frozen=True)
class Cell:
    """One model on one fold; everything `run_cell` needs beside the cohort and the registry.

    Attributes:
        dataset: as the suite writes it, for people and for reading it.
        cohort_name: which cohort it is, wherever its files lie (`Dataset.identity`); random choices depend on it.
        patterns: missing-modality patterns of its test fold, expanded.
        tau: the dataset's horizon in months, 0 where it has classes; in the key with `TAU_DIGITS` digits.
        task: what is predicted, before anything is fitted.
        members: models it builds on, with the keys of their cells.
        tuned: what a search has found for this fold, by the names of its search space; `recipe` has its part already.
        own_recipe: `recipe` is the suite's as its model changes it (`FusionModel.recipe`).
        masked_over: the modality set over which its training pattern is drawn, where that is not its own: a member is
            trained on what the cell that builds on it sees.
        given: pattern whose masks are read to what it hides in this fold.
        skip: why it does not run; empty where it does.
        listed: False for a cell that runs only because another one builds on it.
        ingredients: what the key is the hash of, as JSON values.
        external: the cohort that it predicts as a whole with its only member, which was fitted on `dataset`; None of a
            cell that fits a model.
    """

    dataset: PluginRef
    model: PluginRef
    modalities: tuple[str, ...]
    variant: str
    repeat: int
    fold: int
    protocol: Protocol
    recipe: TrainRecipe
    seed: int
    patterns: tuple[str, ...]
    metrics: tuple[str, ...]
    tau: float
    split: Fold
    cohort_name: str
    policy: str = ""
    members: tuple[tuple[Member, str], ...] = ()
    tuned: tuple[tuple[str, Any], ...] = ()
    own_recipe: bool = False
    masked_over: tuple[str, ...] = ()
    task: Task = field(default_factory=Task)
    given: Mapping[str, Hidden] = field(default_factory=dict, repr=False, compare=False, hash=False)
    skip: str = ""
    listed: bool = True
    key: str = ""
    ingredients: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False, hash=False)
    external: PluginRef | None = None

    @property
    def label(self) -> str:
        """Dataset, model, modalities, variant, repeat and fold, for people."""
        where = " · ".join(self.row[:3])
        variant = "" if self.variant == BASE else f" · {self.variant}"
        return f"{where}{variant} · repeat {self.repeat} fold {self.fold}"

    @property
    def chosen(self) -> PluginRef:
        """The model with the options that a search has found for this fold."""
        return with_tuned(self.model, dict(self.tuned))

    @property
    def row(self) -> tuple[str, str, str, str]:
        """What a table row is: dataset (`TRAIN -> TEST` of an external test), model, modalities, variant."""
        dataset = str(self.dataset) if self.external is None else external_name(self.dataset, self.external)
        return dataset, str(self.model), "+".join(self.modalities), self.variant

    @property
    def position(self) -> CellPosition:
        """Its row, repeat and fold: the cell without its seed and its inputs."""
        return (*self.row, self.repeat, self.fold)

    @property
    def columns(self) -> dict[str, Any]:
        """Its position by the names of the stored columns."""
        return dict(zip(POSITION_NAMES, self.position, strict=True))

    @property
    def fitted_key(self) -> str:
        """The key of the cell that fitted its model: its own, or that of its member where it predicts a cohort."""
        return self.key if self.external is None else self.members[0][1]

    @property
    def unit(self) -> str:
        """What a case is: a patient or a slide."""
        return self.protocol.unit


_ARROW = " -> "


def external_name(train: object, test: object) -> str:
    """What stands for the dataset where models that were fitted on one cohort are tested on another."""
    return f"{train}{_ARROW}{test}"


def cohorts_of(name: str) -> tuple[str, str]:
    """The two datasets of an `external_name`: that models were fitted on, and that they predicted."""
    train, _, test = name.partition(_ARROW)
    return train, test


@dataclass(frozen=True)
class Plan:
    """All cells of a suite.

    Attributes:
        cells: those that fit a model, members included, in an order in which members come first.
        external: those that predict another cohort with a fitted model.
    """

    suite: Suite
    cells: tuple[Cell, ...]
    external: tuple[Cell, ...] = ()

    @property
    def listed(self) -> tuple[Cell, ...]:
        """The cells that are table rows; skipped ones included."""
        return tuple(c for c in self.cells if c.listed)

    @property
    def cohorts(self) -> tuple[tuple[PluginRef, str], ...]:
        """(dataset, unit) of everything that is read, the suite's own unit first."""
        used = dict.fromkeys((c.dataset, c.unit) for c in self.cells)
        busy = {dataset for dataset, _ in used}
        own = [(d, self.suite.protocol.unit) for d in self.suite.datasets]
        return tuple(dict.fromkeys([*(pair for pair in own if pair in used or pair[0] not in busy), *used]))

    def todo(self) -> tuple[Cell, ...]:
        """What runs, each key once: what is fitted, members first, then what is predicted of other cohorts."""
        return (*self.fitted(), *{cell.key: cell for cell in self.external}.values())

    def fitted(self) -> tuple[Cell, ...]:
        """What fits a model: each key once, members first; as the listed cell where it is a row, too."""
        unique: dict[str, Cell] = {}
        for cell in self.cells:
            if not cell.skip and (cell.key not in unique or (cell.listed and not unique[cell.key].listed)):
                unique[cell.key] = cell
        return tuple(unique.values())

    def select(self, chosen: Iterable[Cell]) -> Plan:
        """Some of the listed cells with the members they need."""
        keep = {id(c) for c in chosen}
        wanted = {c.key for c in self.cells if id(c) in keep and not c.skip}
        for cell in reversed(self.fitted()):
            if cell.key in wanted:
                wanted |= {key for _, key in cell.members}
        # A member has an unlisted cell of its own, also where it is a listed row outside the selection.
        cells = [c for c in self.cells if id(c) in keep or (not c.skip and not c.listed and c.key in wanted)]
        fitted = {c.key for c in cells if c.listed}
        return replace(self, cells=tuple(cells), external=tuple(c for c in self.external if c.fitted_key in fitted))


def with_tuned(model: PluginRef, tuned: Mapping[str, Any]) -> PluginRef:
    """A model as written with what of a search's finds are its options."""
    return model.with_options({name: value for name, value in tuned.items() if not name.startswith(TRAIN)})


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces, exact floats."""
    return str(value) if type(value) is int else _CANONICAL.encode(value)


def cell_key(canonical_ingredients: str) -> str:
    """The key of a cell: the first 20 hexadecimal digits of the SHA-256 of its ingredients as canonical JSON."""
    return hashlib.sha256(canonical_ingredients.encode()).hexdigest()[:20]


TAU_DIGITS = 6


def rounded_tau(tau: float) -> float:
    """A horizon with `TAU_DIGITS` significant digits, as keys have it: processors differ in the last bits of one."""
    return float(f"{tau:.{TAU_DIGITS}g}")


def test_masks(cell: Cell, cases: Iterable[Case]) -> dict[str, list[Mask]]:
    """Every pattern's masks over the cell's test fold. The seed names no model, so all models see the same."""
    test = set(cell.split.test) if any(pattern != "full" for pattern in cell.patterns) else set()
    own = [c for c in cases if c.id in test]
    make = partial(
        make_masks,
        present=present_modalities(own, cell.modalities),
        modalities=cell.modalities,
        draws=cell.protocol.mask_draws,
        seed=derive(cell.seed, "masks", cell.cohort_name, cell.repeat, cell.fold),
        probed={c.id for c in own if not _is_positive(c, cell.task)},
    )
    return {pattern: make(pattern, given=cell.given.get(pattern, NOTHING)) for pattern in cell.patterns}


def train_mask(cell: Cell, cases: Iterable[Case]) -> Mask:
    """What is hidden from training and validation; the same for every model and for its members.

    Args:
        cases: of the cohort, with the modalities over which the pattern is drawn.
    """
    over, ids = cell.masked_over or cell.modalities, {*cell.split.train, *cell.split.val}
    own = [c for c in cases if c.id in ids]
    pattern = cell.protocol.train_pattern if len(over) > 1 else "full"
    (mask,) = make_masks(
        pattern,
        present_modalities(own, over),
        over,
        1,
        derive(cell.seed, "train-masks", cell.cohort_name, cell.repeat, cell.fold),
        given=cell.given.get(pattern, NOTHING),
        probed={c.id for c in own if _is_positive(c, cell.task)},
    )
    return mask


def _is_positive(case: Case, task: Task) -> bool:
    """Whether `mnar` hides from a case in training, not at test."""
    return case.target is not None and task_kind(task.kind).is_positive(case.target, task.classes)


def present_modalities(cases: Iterable[Case], modalities: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Case id to those of `modalities` it has."""
    return {case.id: tuple(m for m in modalities if m in case.refs) for case in cases}
