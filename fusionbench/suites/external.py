"""The cells of `[[external]]`: every model that was fitted on a dataset predicts other cohorts as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fusionbench.core.errors import DataError, SuiteError
from fusionbench.core.guard import guarded
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.core.seeds import derive
from fusionbench.core.types import Case, Member
from fusionbench.data.masks import Mask, make_masks, mask_hash
from fusionbench.data.protocol_view import JOIN, apply_protocol
from fusionbench.suites.cell import ORACLE, RESULTS_VERSION, Cell, Plan, canonical, cell_key, present_modalities
from fusionbench.suites.suite_problems import problem_text
from fusionbench.suites.validation import Cohorts
from fusionbench.tasks import task_kind

if TYPE_CHECKING:
    from fusionbench.core.interfaces import Dataset
    from fusionbench.data.cohort import Cohort

OF_OWN_CASES = ("file", "mnar")
"""Kinds of patterns that name cases of the fitted cohort or rest on its outcomes: other cohorts are tested without."""


def with_external(plan: Plan, registry: Registry, cohorts: Cohorts, new_patients: Cohorts) -> Plan:
    """The plan with the cells that its suite's `[[external]]` asks for; they come after all that fit a model.

    A row is tested on a cohort that has at least one of its modalities.

    Args:
        cohorts: reads a dataset that models are fitted on, with a unit.
        new_patients: reads a cohort to predict on: outcomes, columns and modalities may be absent.

    Raises:
        SuiteError: a cohort is the one that models are fitted on, or does not fit them; all problems at once.
        DataError: a cohort cannot be read.
    """
    problems: list[str] = []
    cells: list[Cell] = []
    for asked in plan.suite.external:
        rows = [c for c in plan.listed if str(c.dataset) == str(asked.train) and not c.skip and c.model.name != ORACLE]
        for test in asked.test:
            made = list(_cells(rows, test, registry, cohorts, new_patients, problems))
            cells += made
            if rows and not made and not problems:
                problems.append(f"external {test}: it has none of the modalities of any row of {asked.train}")
    if problems:
        raise SuiteError(problem_text(f"suite {plan.suite.name!r}", list(dict.fromkeys(problems))))
    return replace(plan, external=tuple(cells))


def external_cohort(cell: Cell, new_patients: Cohorts) -> Cohort:
    """The cohort that a cell predicts as a whole, as its protocol wants it read."""
    assert cell.external is not None
    return under_protocol(cell, new_patients(cell.external, cell.unit))


def under_protocol(cell: Cell, cohort: Cohort) -> Cohort:
    """An external cohort as a cell's protocol wants it read: joined vectors, for one, are a modality of their own."""
    named = tuple(part for name in cell.modalities for part in name.split(JOIN))
    return apply_protocol(cohort, cell.protocol, [named])


def external_masks(cell: Cell, identity: str, cases: Sequence[Case]) -> dict[str, list[Mask]]:
    """Every pattern's masks over a whole cohort.

    The seed names neither model nor fold, so that all fold models of all rows are tested with the same missing
    modalities.

    Args:
        identity: of the cohort.
    """
    present = present_modalities(cases, cell.modalities)
    root, draws = derive(cell.seed, "masks", identity), cell.protocol.mask_draws
    return {p: make_masks(p, present, cell.modalities, draws, root) for p in cell.patterns}


def _cells(
    rows: Sequence[Cell],
    test: PluginRef,
    registry: Registry,
    cohorts: Cohorts,
    new_patients: Cohorts,
    problems: list[str],
) -> Iterator[Cell]:
    """A cell for each fitted one whose modalities the cohort has; problems are added to the list."""
    hashes: dict[tuple[object, ...], str] = {}
    for unit in dict.fromkeys(cell.unit for cell in rows):
        cohort = new_patients(test, unit)
        trained = cohorts(rows[0].dataset, unit)
        if cohort.identity == trained.identity and cohort.fingerprint == trained.fingerprint:
            problems.append(f"external: {str(test)!r} is the cohort that models are fitted on ({rows[0].dataset})")
            return
        with guarded(f"reading dataset {test}", registry.note):
            problems += _misfits(test, trained, cohort, {m for c in rows for n in c.modalities for m in n.split(JOIN)})
    if problems:
        return
    for row in rows:
        members = ((Member(row.chosen, row.modalities), row.key),)
        patterns = tuple(p for p in row.patterns if p.partition(":")[0] not in OF_OWN_CASES)
        cell = replace(row, external=test, members=members, patterns=patterns, given={}, listed=False)
        cohort = new_patients(test, row.unit)
        if not any(part in cohort.modalities for name in row.modalities for part in name.split(JOIN)):
            continue
        place = (row.unit, row.modalities, patterns, row.protocol)
        if place not in hashes:
            own = external_cohort(cell, new_patients)
            masks = external_masks(cell, own.identity, own.cases)
            hashes[place] = mask_hash([mask for of_pattern in masks.values() for mask in of_pattern])
        about = registry.dataset(test.name)
        ingredients = _ingredients(row, about, cohort, patterns, hashes[place])
        yield replace(cell, ingredients=ingredients, key=cell_key(canonical(ingredients)))


def _ingredients(
    row: Cell, dataset: type[Dataset], cohort: Cohort, patterns: Sequence[str], masks: str
) -> Mapping[str, Any]:
    """What the key is the hash of: the fitted cell, the cohort and the masks laid over it."""
    of_row = ("dataset", "model", "modalities", "modality_order", "seed", "repeat", "fold")
    about = {"name": dataset.name, "version": dataset.version}
    about |= {"fingerprint": cohort.fingerprint, "identity": cohort.identity}
    return {
        "results_version": RESULTS_VERSION,
        **{key: row.ingredients[key] for key in of_row},
        "external": about,
        "patterns": [*patterns],
        "masks": masks,
        "members": [row.key],
    }


def _misfits(test: PluginRef, trained: Cohort, cohort: Cohort, used: set[str]) -> Iterator[str]:
    """Why models that were fitted on one cohort cannot read the other, a line for each modality."""
    if cohort.targets and cohort.info.task != trained.info.task:
        kinds = f"its endpoint is {cohort.info.task}, that of {trained.label} is {trained.info.task}"
        yield f"external {test}: {kinds}; nothing could be scored"
        return
    learnt, kind = replace(cohort.info, classes=trained.info.classes), task_kind(trained.info.task)
    for case, target in cohort.targets.items():
        if problem := kind.target_problem(target, learnt):
            yield f"external {test}: case {case!r}: {problem}"
            break
    for name, reader in cohort.modalities.items():
        if name in used and name in trained.modalities:
            try:
                reader.check_new_cohort(trained.modalities[name].use)
            except DataError as error:
                yield f"external {test}: {error}"
