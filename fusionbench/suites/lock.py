"""suite.lock.toml: what a suite was when it ran. Always of the whole suite, also where a run was narrowed."""

from __future__ import annotations

import hashlib
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import tomli_w

from fusionbench.core.class_files import in_file
from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError, file_problem
from fusionbench.core.plugin_options import validate_options
from fusionbench.core.registry import Registry
from fusionbench.data.cohort import listed
from fusionbench.data.inspection.checks import LEAKS
from fusionbench.data.protocol_view import JOIN
from fusionbench.data.splits import fold_hash
from fusionbench.suites import published_numbers
from fusionbench.suites.cell import ORACLE, RESULTS_VERSION, Cell, Plan, canonical, cohorts_of
from fusionbench.suites.given_masks import mask_notes, mask_texts
from fusionbench.suites.provenance import Record, dataset_plugins, provenance
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import parse_suite
from fusionbench.tasks import task_kind

if TYPE_CHECKING:
    from fusionbench.core.data_warning import DataWarning
    from fusionbench.data.cohort import Cohort


LOCK = "suite.lock.toml"


def make_lock(
    plan: Plan,
    registry: Registry,
    cohorts: Mapping[tuple[str, str], Cohort],
    counted: Mapping[tuple[str, str], Cohort] = MappingProxyType({}),
    warnings: Mapping[tuple[str, str], Sequence[DataWarning]] = MappingProxyType({}),
    records: Sequence[Record] = (),
    external: Mapping[tuple[str, str], Cohort] = MappingProxyType({}),
) -> dict[str, Any]:
    """The resolved suite, split and mask hashes, horizons, data checksums, and what computed the cells.

    Args:
        counted: cohorts that are counted although no cell reads them.
        warnings: about the cohorts, by dataset as written and unit; in no cell's key.
        records: of the finished cells; plugin and package versions and machines are those that they name.
        external: the cohorts that fitted models predict, by `TRAIN -> TEST` and unit; their warnings are among
            `warnings`.
    """
    models = dict.fromkeys(m.name for m in (*plan.suite.models, *(c.model for c in plan.cells)) if m.name != ORACLE)
    computed, read_by = provenance(records), dataset_plugins(records)
    masks = {name: {"sha256": _sha256(text), "text": text} for name, (_, text) in mask_texts(plan.suite).items()}
    return {
        "fusionbench": computed.pop("fusionbench"),
        "results_version": RESULTS_VERSION,
        "suite": suite_in_lock(plan.suite),
        **({"added_models": list(plan.suite.added)} if plan.suite.added else {}),
        "cells": {
            "listed": len(plan.listed),
            "skipped": sum(bool(c.skip) for c in plan.listed),
            "keys_sha256": _sha256(canonical(sorted(c.key for c in plan.todo()))),
        },
        "datasets": {
            str(d): {
                **_dataset(plan, registry, str(d), cohorts, counted),
                **read_by.get(str(d), {}),
                "warnings": _warnings([w for (of, _), some in warnings.items() if of == str(d) for w in some]),
            }
            for d, _ in plan.cohorts
        },
        **({"external": _external(plan, registry, cohorts, external, warnings)} if external else {}),
        **{kind: of.plain() for kind, of in published_numbers.read(plan.suite).items()},
        **({"mask_files": masks} if masks else {}),
        "models": {name: registry.model(name).version for name in models},
        "options": {
            str(ref): _plain(validate_options(registry, "models", ref).model_dump(mode="json"))
            for ref in dict.fromkeys(c.model for c in plan.cells if c.model.name != ORACLE)
        },
        **computed,
        **({"changed_settings": list(registry.changed_settings)} if registry.changed_settings else {}),
    }


def suite_in_lock(suite: Suite) -> dict[str, Any]:
    """A suite as its lock has it: TOML values, datasets and models as they are written."""
    written = {"datasets": [str(d) for d in suite.datasets], "models": [str(m) for m in suite.models]}
    plain: dict[str, Any] = _plain(suite.model_dump(mode="json", exclude={"external"}))
    external = [{"train": str(e.train), "test": [str(d) for d in e.test]} for e in suite.external]
    return plain | written | ({"external": external} if external else {})


def _dataset(
    plan: Plan,
    registry: Registry,
    name: str,
    cohorts: Mapping[tuple[str, str], Cohort],
    counted: Mapping[tuple[str, str], Cohort],
) -> dict[str, Any]:
    units = {unit: cohort for (of, unit), cohort in cohorts.items() if of == name}
    cohort = next(iter(units.values()))
    ref = next(d for d in plan.suite.datasets if str(d) == name)
    cells = [c for c in plan.listed if str(c.dataset) == name]
    return {
        "title": cohort.info.title,
        **({"endpoint": cohort.info.endpoint, "classes": list(cohort.info.classes)} if cohort.info.classes else {}),
        "modalities": dict(Counter(of for case in cohort.cases for of in case.refs)),
        "version": registry.dataset(ref.name).version,
        "identity": cohort.identity,
        "fingerprint": {unit: of.fingerprint for unit, of in units.items()},
        "cases": {unit: len(of.cases) for unit, of in units.items()},
        "counts": {
            u: _counts(c, plan.suite.protocol.bins) for (of, u), c in {**cohorts, **counted}.items() if of == name
        },
        "checksums": dict(cohort.info.checksums),
        "notes": [*cohort.info.notes, *mask_notes(plan.suite, ref, cohort)],
        "tau_months": {c.variant: c.tau for c in cells},
        "splits": {_fold(c): fold_hash(c.split) for c in cells},
        "masks": _masks(cells),
    }


def _external(
    plan: Plan,
    registry: Registry,
    fitted_on: Mapping[tuple[str, str], Cohort],
    cohorts: Mapping[tuple[str, str], Cohort],
    warnings: Mapping[tuple[str, str], Sequence[DataWarning]],
) -> dict[str, Any]:
    """Each external cohort, by `TRAIN -> TEST`."""
    versions = {c.row[0]: registry.dataset(c.external.name).version for c in plan.external if c.external is not None}
    used: dict[str, dict[str, None]] = {}
    for cell in plan.external:
        used.setdefault(cell.row[0], {}).update(dict.fromkeys(m for of in cell.modalities for m in of.split(JOIN)))
    found: dict[str, Any] = {}
    for (name, unit), cohort in cohorts.items():
        about = found.setdefault(name, {"title": cohort.info.title, "version": versions[name], "fingerprint": {}})
        about["fingerprint"][unit] = cohort.fingerprint
        about |= {
            "identity": cohort.identity,
            "cases": {**about.get("cases", {}), unit: len(cohort.cases)},
            "outcomes": {**about.get("outcomes", {}), unit: len(cohort.targets)},
            "modalities": dict(Counter(of for case in cohort.cases for of in case.refs)),
            "checksums": dict(cohort.info.checksums),
            "notes": [*cohort.info.notes, *_lacks(fitted_on[cohorts_of(name)[0], unit], cohort, used[name])],
            "warnings": _warnings([w for (of, _), some in warnings.items() if of == name for w in some]),
        }
    return found


def _lacks(trained: Cohort, cohort: Cohort, used: Iterable[str]) -> Iterator[str]:
    """What models find absent in an external cohort, and what they leave out of it; a line for each modality.

    Args:
        used: modalities of the models.
    """
    having = Counter(name for case in cohort.cases for name in case.refs)
    for name in used:
        if name not in having:
            yield f"{name}: no case has it; it counts as missing"
            continue
        known, here = trained.modalities[name].use.features, cohort.modalities[name].use.features
        absent, further = ([c for c in of if c not in frozenset(other)] for of, other in ((known, here), (here, known)))
        if absent:
            seen = f"{len(absent)} of {len(known)} columns absent here ({listed(absent)})"
            yield f"{name}: {seen}: imputed as in training"
        if further:
            yield f"{name}: columns here that models do not know, left out: {len(further)} ({listed(further)})"


def _warnings(warnings: Sequence[DataWarning]) -> list[dict[str, str]]:
    """Kind and text of each warning; one of both units, patients and slides, is told once."""
    return list({w.text: {"kind": w.kind, "text": w.text} for w in warnings}.values())


def notes_of(lock: Mapping[str, Any]) -> dict[str, list[str]]:
    """Dataset to the lines under its tables: the plugin's notes, and what looks wrong about the cohort."""
    return {
        name: [*of.get("notes", []), *(f"warning: {warning['text']}" for warning in of.get("warnings", []))]
        for name, of in lock["datasets"].items()
    }


def identities_of(lock: Mapping[str, Any]) -> dict[str, str]:
    """Dataset as written, or `TRAIN -> TEST`, to which cohort (TEST) it is, by which resampling is seeded.

    Older locks had one name for both.
    """
    of_all = {**lock["datasets"], **lock.get("external", {})}
    return {name: str(of.get("identity", name)) for name, of in of_all.items()}


def classes_of(lock: Mapping[str, Any], dataset: str) -> tuple[str, ...]:
    """The classes of a dataset's endpoint, in their order; empty where it is survival."""
    return tuple(lock["datasets"].get(dataset, {}).get("classes", ()))


def leaks_of(lock: Mapping[str, Any]) -> dict[str, list[str]]:
    """Dataset to the warnings about leakage, of those that have one."""
    found = {
        name: [warning["text"] for warning in of.get("warnings", ()) if warning["kind"] in LEAKS]
        for name, of in lock.get("datasets", {}).items()
    }
    return {name: texts for name, texts in found.items() if texts}


def _counts(cohort: Cohort, bins: int) -> dict[str, Any]:
    """How large a cohort is; bins have the edges of all of its uncensored cases, as `bins_from = "cohort"` has it."""
    targets = [case.target for case in cohort.cases if case.target is not None]
    return {
        "cases": len(cohort.cases),
        "groups": len({case.group for case in cohort.cases}),
        **task_kind(cohort.info.task).counts(targets, cohort.info, bins),
        "columns": {name: spec.dim for name, spec in cohort.specs_raw.items() if spec.kind == "vector"},
        "having": {name: sum(name in case.refs for case in cohort.cases) for name in cohort.specs_raw},
    }


def _fold(cell: Cell) -> str:
    return f"{cell.variant}/{cell.repeat}/{cell.fold}"


def _masks(cells: Sequence[Cell]) -> dict[str, str]:
    """Fold to one hash over the masks of all its modality sets; the true hazards are never masked."""
    sets: dict[str, set[tuple[str, str]]] = {}
    for cell in cells:
        if not cell.skip and cell.model.name != ORACLE:
            sets.setdefault(_fold(cell), set()).add(("+".join(cell.modalities), cell.ingredients["masks"]))
    return {fold: _sha256(canonical(sorted(of_fold))) for fold, of_fold in sets.items()}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """TOML has no null: keys without a value are left out."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def read_lock(folder: Path) -> dict[str, Any]:
    """The lock of a suite's results.

    Raises:
        ResultsError: it is not there, is damaged, or is no lock; says which file and what to do.
    """
    path = folder / LOCK
    try:
        lock = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # neither TOML nor UTF-8
        raise ResultsError(file_problem(path, error, _REMEDY)) from None
    if not _is_lock(lock):
        raise ResultsError(f"{path}: it is not what a run writes there; {_REMEDY}")
    return lock


def _is_lock(content: Mapping[str, Any]) -> bool:
    """Whether what everybody asks of a lock is there."""
    suite, datasets = content.get("suite"), content.get("datasets")
    if not isinstance(suite, Mapping) or not isinstance(datasets, Mapping):
        return False
    protocol = suite.get("protocol")
    return isinstance(protocol, Mapping) and type(suite.get("seed")) is type(protocol.get("repeats")) is int


def is_older(lock: Mapping[str, Any]) -> bool:
    """Whether it was written under another RESULTS_VERSION: keys and fingerprints are not those that are made now."""
    return bool(lock.get("results_version") != RESULTS_VERSION)


_REMEDY = "finished cells are kept: run the suite and it is written anew"


def suite_from_lock(lock: Mapping[str, Any], where: str) -> Suite:
    """The suite that a lock is of, without models that runs added to it.

    The published numbers beside its file are left out, too: the lock holds them itself, as it holds files of masks.

    Args:
        where: names the lock in messages.

    Raises:
        SuiteError: it is not what a run writes there.
    """
    left_out = {"name", *published_numbers.COLUMNS}
    content = {key: value for key, value in lock["suite"].items() if key not in left_out}
    added = frozenset(lock.get("added_models", ()))
    content["models"] = [name for name in content.get("models", ()) if name not in added]
    masks = {name: of["text"] for name, of in lock.get("mask_files", {}).items()}
    return parse_suite(str(lock["suite"].get("name")), tomli_w.dumps(content), where, masks)


def lock_text(lock: Mapping[str, Any]) -> str:
    """The TOML text of a lock."""
    return tomli_w.dumps(lock)


def run_command(lock: Mapping[str, Any], written: Suite, root: Path) -> str:
    """The command that makes a run again; two of them where models were added to the suite.

    Args:
        written: the suite as its file has it; the lock's may have been asked for with other repeats or another seed.
        root: the results root.
    """
    suite = lock["suite"]
    repeats, seed = suite["protocol"]["repeats"], suite["seed"]
    more = ["--repeats", str(repeats)] if repeats != written.protocol.repeats else []
    more += ["--seed", str(seed)] if seed != written.seed else []
    added = [word for name in lock.get("added_models", ()) for word in ("-m", _as_added(name))]
    adding = [command(root, "run", suite["name"], *added, *more)] if added else []
    return " && ".join([*adding, command(root, "run", suite["name"], *more)])


def _as_added(model: str) -> str:
    """A model as `-m` takes it to add it: brackets, also empty ones, or a class of a file."""
    return model if "[" in model or in_file(model) else f"{model}[]"
