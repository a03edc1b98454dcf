"""expand(suite, registry) -> the cells of a suite: what runs, what is skipped and why, and each cell's stable key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.class_files import in_file
from fusionbench.core.errors import FusionBenchError, PluginError, SuiteError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.plugin_source import source_of
from fusionbench.core.protocol import AS_PUBLISHED, Protocol, TrainRecipe, overlay
from fusionbench.core.registry import Registry
from fusionbench.core.types import Case, Fold, Member, SurvivalTarget, Task
from fusionbench.data import splits
from fusionbench.data.patterns import expand_patterns, hidden_from_all
from fusionbench.data.protocol_view import apply_protocol, protocol_modalities
from fusionbench.suites.cell import ORACLE, RESULTS_VERSION, Cell, Plan, canonical, cell_key, rounded_tau
from fusionbench.suites.given_masks import GivenMasks, check_folds, check_masks, given_masks, with_shown_patterns
from fusionbench.suites.mask_hashes import MaskHashes
from fusionbench.suites.own_recipe import recipe_of
from fusionbench.suites.preparations import about_preparations
from fusionbench.suites.suite import Suite, Variant
from fusionbench.suites.tuned_options import TunedOptions, read_tuned
from fusionbench.suites.validation import Cohorts, check_modalities, check_names, metrics_of
from fusionbench.tasks import task_kind

if TYPE_CHECKING:
    from fusionbench.data.cohort import Cohort

_ELSEWHERE = {"fold_source", "sd_ddof"}
"""Switches that a cell's numbers do not depend on: the split itself is in the key, and tables take the sd."""

_SHARED = frozenset({"dataset", "modalities", "modality_order", "model", "patterns", "protocol", "recipe", "tau"})
"""Ingredients whose value is one object in many cells."""


def expand(suite: Suite, registry: Registry, cohorts: Cohorts) -> Plan:
    """Every cell of a suite, in running order.

    Raises:
        SuiteError: names, options or modalities that do not exist; all at once, before any compute.
        DataError: a cohort cannot be read or folded.
    """
    check_names(suite, registry)
    if ORACLE in registry.names("models"):
        raise PluginError(f"a plugin brings a model named {ORACLE!r}; that name is reserved for the oracle baseline")
    check_modalities(suite, cohorts)
    check_masks(suite, cohorts)
    suite = _with_metrics(suite, registry, cohorts)
    found = read_tuned(suite)
    rows = [cell for dataset in suite.datasets for cell in _dataset_cells(suite, dataset, registry, cohorts, found)]
    return Plan(suite, tuple(_ordered(rows)))


def _ordered(rows: Sequence[Cell]) -> Iterator[Cell]:
    """Folds of one dataset together (their preprocessing is shared), cells before those that build on them."""
    order = {str(d): i for i, d in enumerate(dict.fromkeys(c.dataset for c in rows))}
    # members come before the cell that needs them, and sorting keeps the order of equals
    yield from sorted(rows, key=lambda c: (order[str(c.dataset)], c.repeat, c.fold))


def _with_metrics(suite: Suite, registry: Registry, cohorts: Cohorts) -> Suite:
    """The suite with the metrics that its datasets are scored by."""
    kinds = {str(ref): task_kind(cohorts(ref, suite.protocol.unit).info.task) for ref in suite.datasets}
    return suite.model_copy(update={"metrics": metrics_of(suite, registry, kinds)})


def _variant_cells(
    suite: Suite,
    variant: Variant,
    dataset: PluginRef,
    registry: Registry,
    cohorts: Cohorts,
    tau: float,
    found: TunedOptions,
) -> Iterator[Cell]:
    protocol: Protocol = overlay(suite.protocol, variant.protocol)
    recipe: TrainRecipe = overlay(suite.train, variant.train)
    sets = suite.sets_of(dataset.name)
    cohort = cohorts(dataset, protocol.unit)
    with guarded(f"reading dataset {dataset}", registry.note):
        cohort = apply_protocol(cohort, protocol, sets)
    folds = [_folds(dataset, cohort, protocol, suite.seed, repeat) for repeat in range(protocol.repeats)]
    given = given_masks(suite, protocol, dataset, cohort)
    protocol = with_shown_patterns(protocol)
    check_folds(given, protocol, dataset, cohort, folds, [protocol_modalities(cohort, protocol, s) for s in sets])
    maker = _Maker(registry, cohort, dataset, variant.name, protocol, recipe, suite, tau, found, given)
    models = [m for m in suite.models if not variant.only.models or m.name in variant.only.models]
    # A variant's options can make two models of the suite one.
    refs = dict.fromkeys(m.with_options(variant.model.get(m.name, {})) for m in models)
    yield from _made(maker, folds, sets, refs)


def _made(
    maker: _Maker, folds: Sequence[Sequence[Fold]], sets: Sequence[tuple[str, ...]], refs: Iterable[PluginRef]
) -> Iterator[Cell]:
    cohort = maker.cohort
    given = [protocol_modalities(cohort, maker.protocol, modalities) for modalities in sets]
    for repeat, of_repeat in enumerate(folds):
        for number, fold in enumerate(of_repeat):
            for modalities in given:
                for ref in refs:
                    yield from maker.cells(ref, modalities, repeat, number, fold)
            if task_kind(cohort.info.task).knows_truth(cohort.info):
                yield maker.oracle(repeat, number, fold)


def _folds(dataset: PluginRef, cohort: Cohort, protocol: Protocol, seed: int, repeat: int) -> list[Fold]:
    try:
        return splits.make_folds(cohort.cases, protocol, seed, repeat, cohort.folds)
    except FusionBenchError as error:
        raise type(error)(f"dataset {dataset}: {error}") from error


def _dataset_cells(
    suite: Suite, dataset: PluginRef, registry: Registry, cohorts: Cohorts, found: TunedOptions
) -> Iterator[Cell]:
    """The cells of every variant that runs on a dataset; all share the dataset's horizon."""
    variants = [v for v in suite.variants() if not v.only.datasets or dataset.name in v.only.datasets]
    protocols: list[Protocol] = [overlay(suite.protocol, v.protocol) for v in variants]
    of_first = [(_folds(dataset, cohorts(dataset, p.unit), p, suite.seed, 0), p) for p in protocols]
    taus = (horizon(cohorts(dataset, p.unit).cases, folds, p) for folds, p in of_first)
    tau = min(taus, default=suite.protocol.horizon)
    for variant in variants:
        yield from _variant_cells(suite, variant, dataset, registry, cohorts, tau, found)


def horizon(cases: Sequence[Case], folds: Sequence[Fold], protocol: Protocol) -> float:
    """tau in months: the smallest over folds of the 90th percentile of training follow-up, at most the protocol's.

    Taken over the first repeat's folds, so that asking for more repeats leaves finished cells valid; the smallest over
    a suite's variants is the dataset's. 0 where the endpoint has classes, which have no horizon.
    """
    time = {c.id: c.target.time for c in cases if isinstance(c.target, SurvivalTarget)}
    if not time:
        return 0.0
    tails = [float(np.percentile([time[i] for i in fold.train], 90)) for fold in folds]
    return min(protocol.horizon, *tails)


class _Maker:
    """Makes the cells of one dataset x variant; holds what they share."""

    def __init__(
        self,
        registry: Registry,
        cohort: Cohort,
        dataset: PluginRef,
        variant: str,
        protocol: Protocol,
        recipe: TrainRecipe,
        suite: Suite,
        tau: float,
        found: TunedOptions,
        given: GivenMasks,
    ) -> None:
        self.registry, self.cohort, self.dataset, self.variant = registry, cohort, dataset, variant
        self.protocol, self.recipe, self.suite, self.tau, self.found = protocol, recipe, suite, tau, found
        self.kind = task_kind(cohort.info.task)
        self.metrics = tuple(name for name in suite.metrics if self.kind.name in registry.metric(name).tasks)
        self.masks = MaskHashes(cohort.cases)
        self.fold_hashes: dict[tuple[int, int], str] = {}
        self.described = cache(self._describe)
        self.recipe_of = cache(partial(recipe_of, registry, suites=recipe))
        self.patterns = cache(partial(expand_patterns, protocol.test_patterns, given=given.hides))
        self.given = cache(given.hidden)
        self.about_model, self.about_modalities = cache(self._about_model), cache(self._about_modalities)
        self.about_preparations = cache(self._about_preparations)
        # What all cells of the variant have in common is put into JSON values once.
        kept = {*AS_PUBLISHED, "bins", "train_pattern", "mask_draws"} - _ELSEWHERE
        self.about_protocol = protocol.model_dump(mode="json", include=kept)
        self.about_recipe = _about_recipe(recipe)
        self.about_dataset = self._about_dataset()
        self.listed: Callable[[tuple[str, ...]], list[str]] = cache(list)
        self.written: dict[int, tuple[object, str]] = {}

    def cells(
        self,
        model: PluginRef,
        modalities: tuple[str, ...],
        repeat: int,
        fold: int,
        split: Fold,
        parent: tuple[str, ...] = (),
    ) -> Iterator[Cell]:
        """A cell, after the cells of its members; `parent`: modalities of the cell that it is a member of."""
        skip, policy, members = self.described(model, modalities)
        cell = Cell(
            dataset=self.dataset,
            model=model,
            modalities=modalities,
            variant=self.variant,
            repeat=repeat,
            fold=fold,
            protocol=self.protocol,
            recipe=self.recipe_of(model),
            seed=self.suite.seed,
            skip=skip,
            policy=policy,
            key=_skip_key(self.about_dataset, model, modalities, self.variant, repeat, fold) if skip else "",
            patterns=self.patterns(modalities),
            metrics=self.metrics,
            tau=self.tau,
            split=split,
            cohort_name=self.cohort.identity,
            task=self._task(model),
            listed=not parent,
            own_recipe=self.recipe_of(model) is not self.recipe,
            masked_over=parent if parent != modalities and self.protocol.train_pattern != "full" else (),
            given=self.given(repeat, fold),
        )
        if skip:
            yield cell
            return
        made: list[tuple[Member, str]] = []
        for member in members:
            of_member = list(self.cells(member.model, member.modalities, repeat, fold, split, parent or modalities))
            made.append((member, of_member[-1].key))
            yield from of_member
        yield self.keyed(self._as_tuned(cell) if cell.listed else cell, members=tuple(made))

    def _as_tuned(self, cell: Cell) -> Cell:
        """With the options that a search has found for its fold; members of others stay as they are written."""
        if not self.found.studies:
            return cell
        study = self.found.of((*cell.row, cell.repeat, cell.fold), self._fold_hash(cell))
        if study is None:
            return cell
        chosen = replace(cell, tuned=study.chosen, recipe=overlay(cell.recipe, study.train))
        validate_options(self.registry, "models", chosen.chosen)  # what it does not take is told before any compute
        return chosen

    def oracle(self, repeat: int, fold: int, split: Fold) -> Cell:
        """The row of the cohort's true hazards."""
        cell = Cell(
            dataset=self.dataset,
            model=PluginRef(ORACLE),
            modalities=tuple(self.cohort.info.modalities),
            variant=self.variant,
            repeat=repeat,
            fold=fold,
            protocol=self.protocol,
            recipe=self.recipe,
            seed=self.suite.seed,
            policy=self.kind.truth_label,
            patterns=("full",),
            metrics=self.metrics,
            tau=self.tau,
            split=split,
            cohort_name=self.cohort.identity,
            task=self.kind.planned(self.protocol, self.recipe, self.cohort.info, 2),
        )
        return self.keyed(cell)

    def _describe(self, ref: PluginRef, modalities: tuple[str, ...]) -> tuple[str, str, tuple[Member, ...]]:
        """(skip reason, missing policy, members) of a model on a modality set."""
        absent = [m for m in modalities if m not in self.cohort.info.modalities]
        if absent:
            return f"{self.dataset} has no modality {', '.join(map(repr, absent))}", "", ()
        if unseen := self._unseen(modalities):
            return unseen, "", ()
        if problem := self.kind.recipe_problem(self.recipe):
            raise SuiteError(f"suite {self.suite.name!r}, dataset {self.dataset}, [train]: {problem}")
        if problem := self.kind.recipe_problem(self.recipe_of(ref)):
            return f"its own recipe does not fit {self.kind.name} endpoints: {problem}", "", ()
        options = validate_options(self.registry, "models", ref)
        specs = {m: self.cohort.specs_raw[m] for m in modalities}
        task, takes = self._task(ref), self.registry.model(ref.name).tasks
        if self.kind.name not in takes:
            return f"{ref.name} takes {' and '.join(takes)} endpoints, not {self.kind.name} ones", "", ()
        try:
            with guarded(f"planning with model {ref}", self.registry.note):
                model = self.registry.model(ref.name)(options)
                reason = model.skip(task, specs)
                members = () if reason else tuple(model.members(task, specs))
        except FusionBenchError:
            raise
        except Exception as error:  # third-party code: the error names the plugin
            raise PluginError(f"model {ref}: skip() or members() raised {type(error).__name__}: {error}") from error
        for member in members:
            try:
                inner = self.described(member.model, member.modalities)[0]
            except SuiteError as error:
                raise SuiteError(f"model {ref} is built on {member.model}: {error}") from error
            if inner:
                reason = f"its member {member.model} on {'+'.join(member.modalities)} cannot run: {inner}"
        return reason or "", model.missing, members

    def _task(self, ref: PluginRef) -> Task:
        """What a model is asked to predict, before anything is fitted."""
        outputs = self.registry.model(ref.name).binary_outputs
        return self.kind.planned(self.protocol, self.recipe_of(ref), self.cohort.info, outputs)

    def _unseen(self, modalities: tuple[str, ...]) -> str:
        """Why a modality set cannot be trained on under the training pattern; empty where it can."""
        pattern = self.protocol.train_pattern
        hidden = hidden_from_all(pattern, modalities) if len(modalities) > 1 else frozenset()
        if len(hidden) == len(modalities):
            return f"train_pattern {pattern!r} leaves nothing of {'+'.join(modalities)} to train on"
        named = ", ".join(m for m in modalities if m in hidden)
        return f"train_pattern {pattern!r} hides {named} from every training case" if hidden else ""

    def _fold_hash(self, cell: Cell) -> str:
        """Hash of the fold; made once for all models."""
        known = (cell.repeat, cell.fold)
        if known not in self.fold_hashes:
            self.fold_hashes[known] = splits.fold_hash(cell.split)
        return self.fold_hashes[known]

    def keyed(self, cell: Cell, members: tuple[tuple[Member, str], ...] = ()) -> Cell:
        """The cell with its key: a hash of canonical JSON of everything that decides its numbers."""
        ingredients = self.ingredients(cell, [key for _, key in members])
        key = cell_key(self._canonical(ingredients))
        return replace(cell, members=members, key=key, ingredients=ingredients)

    def _canonical(self, ingredients: Mapping[str, Any]) -> str:
        """Canonical JSON of them; what cells share is put into words once."""
        parts = (f'"{name}":{self._text(name, ingredients[name])}' for name in sorted(ingredients))
        return "{" + ",".join(parts) + "}"

    def _text(self, name: str, value: object) -> str:
        if name not in _SHARED:
            return canonical(value)
        if id(value) not in self.written:
            self.written[id(value)] = (value, canonical(value))  # the value is kept, so that its id stays its own
        return self.written[id(value)][1]

    def ingredients(self, cell: Cell, members: Sequence[str]) -> dict[str, Any]:
        """What the key is the hash of. Seeds depend on the cohort's identity and the model as written."""
        return {
            "results_version": RESULTS_VERSION,
            "dataset": self.about_dataset,
            "model": self.about_model(cell.chosen, str(cell.model)),
            "modalities": self.about_modalities(cell.modalities),
            "modality_order": self.listed(cell.modalities),
            "recipe": _about_recipe(cell.recipe) if cell.tuned or cell.own_recipe else self.about_recipe,
            "protocol": self.about_protocol,
            "patterns": self.listed(cell.patterns),
            "tau": rounded_tau(cell.tau),
            "split": self._fold_hash(cell),
            **self.masks.ingredients(cell),
            "seed": cell.seed,
            "repeat": cell.repeat,
            "fold": cell.fold,
            "members": list(members),
            **({"masked_over": list(cell.masked_over)} if cell.masked_over else {}),
            **({"classes": list(cell.task.classes)} if cell.task.classes else {}),
            **self.about_preparations(cell.chosen, cell.modalities),
        }

    def _about_dataset(self) -> dict[str, Any]:
        dataset = self.registry.dataset(self.dataset.name)
        about = {"name": dataset.name, "version": dataset.version, "fingerprint": self.cohort.fingerprint}
        return {**about, "identity": self.cohort.identity}

    def _about_model(self, ref: PluginRef, written: str) -> dict[str, Any]:
        about: dict[str, Any] = {"name": ref.name}
        if ref.name != ORACLE:
            chosen = validate_options(self.registry, "models", ref).model_dump(mode="json")
            about |= {"version": self.registry.model(ref.name).version, "options": chosen}
        if in_file(ref.name):  # the same name may stand for other code tomorrow
            about["sha256"] = source_of(self.registry, "models", ref.name)["sha256"]
        return {**about, "written": written}

    def _about_preparations(self, ref: PluginRef, modalities: tuple[str, ...]) -> dict[str, Any]:
        specs = {m: self.cohort.specs_raw[m] for m in modalities}
        return {} if ref.name == ORACLE else about_preparations(self.registry, ref, self._task(ref), specs)

    def _about_modalities(self, names: tuple[str, ...]) -> dict[str, Any]:
        return {name: self._about_modality(name) for name in names}

    def _about_modality(self, name: str) -> dict[str, Any]:
        use = self.cohort.info.modalities[name]
        reader = self.registry.modalities[use.modality]
        options = reader.Options.model_validate(dict(use.options)).model_dump(mode="json", exclude_defaults=True)
        about = {"kind": use.modality, "version": reader.version, "options": options}
        return {**about, "checksum": use.checksum} if use.checksum else about


def _about_recipe(recipe: TrainRecipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude={"base"})


def _skip_key(
    dataset: Mapping[str, Any], model: PluginRef, modalities: tuple[str, ...], variant: str, repeat: int, fold: int
) -> str:
    content = [dataset, str(model), "+".join(modalities), variant, repeat, fold]
    return "skip-" + hashlib.sha256(canonical(content).encode()).hexdigest()[:15]
