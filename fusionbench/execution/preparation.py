"""What a model has prepared on a fold's training cases: computed once, whichever models, cells and processes ask."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.errors import PluginError, ResultsError
from fusionbench.core.interfaces import FusionModel
from fusionbench.core.plugin_source import package_hash
from fusionbench.core.preparation import Preparation, PreparationContext, State, checked_preparations
from fusionbench.core.seeds import derive
from fusionbench.core.timing import PREPARE, span
from fusionbench.core.types import CaseSet, ModalitySpec, Task
from fusionbench.data.case_guard import only
from fusionbench.data.feature_cache import FeatureCache, current_cache
from fusionbench.data.preparations import FittedPreparation, split_arrays
from fusionbench.data.preprocessing import Preprocessor
from fusionbench.data.stored_states import StoredState, load_state, state_file, store_state
from fusionbench.execution.seeding import seeded
from fusionbench.results.exclusive import exclusive
from fusionbench.suites.cell import canonical

if TYPE_CHECKING:
    import torch

    from fusionbench.execution.shared import SharedResources

_LIBRARIES = {"abc", "builtins", "pydantic", "typing"}
"""Packages of a preparation's base classes that are not its code."""


def declared(model: FusionModel, task: Task, specs: Mapping[str, ModalitySpec]) -> list[Preparation]:
    """What a model wants prepared.

    Raises:
        PluginError: it is no preparation, stands there twice, or reads a modality that the row does not have.
    """
    return checked_preparations(f"model {type(model).name}", model.preparations(task, specs), specs)


def shown_cases(train: CaseSet, preprocessor: Preprocessor, reads: Sequence[str]) -> CaseSet:
    """The training cases as a preparation gets them: those that show one of `reads`; no targets, nothing imputed."""
    own = replace(preprocessor.restrict(reads), fill=False, preparations=())
    # Dictionaries of their own, so that a ref that is made when it is asked for is the same object every time.
    refs = [{name: case.refs[name] for name in reads if name in case.refs} for case in train.cases]
    cases = tuple(replace(case, target=None, refs=of) for case, of in zip(train.cases, refs, strict=True))
    hidden = {case.id: train.hidden[case.id] for case in cases if case.id in train.hidden}
    shown = CaseSet(cases, own.specs, None, own.prepare, hidden)
    return shown.take([i for i, case in enumerate(shown.cases) if shown.visible(case)])


def compute(preparation: Preparation, cases: CaseSet, seed: int, device: torch.device) -> StoredState:
    """Run a preparation on training cases; see `shown_cases`.

    Raises:
        PluginError: it reads another case, or what it gives is not named arrays of numbers.
    """
    who, started = f"preparation {preparation.name!r}", time.perf_counter()
    with only(who, cases) as guard, seeded(seed, device), span(PREPARE):
        made = preparation.prepare(cases, PreparationContext(seed, device))
    state = _checked_state(who, made)
    return StoredState(state, tuple(sorted(guard.read)), time.perf_counter() - started)


def _checked_state(who: str, made: Any) -> State:
    if not isinstance(made, Mapping):
        raise PluginError(f"{who}: prepare() gave {type(made).__name__}, expected a mapping from names to numpy arrays")
    for name, array in made.items():
        if (
            not isinstance(name, str)
            or not isinstance(array, np.ndarray)
            or array.dtype.kind not in "fiub"
            or array.dtype.itemsize > 8
        ):
            seen = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
            raise PluginError(f"{who}: prepare() gave {seen} under {name!r}, expected a numpy array of numbers")
    return {name: np.array(array, order="C") for name, array in made.items()}


@dataclass(frozen=True)
class StateKey:
    """Under what a state is kept.

    Attributes:
        on_disk: other processes may use it; not where the code of the class is in no file.
        seed: of `prepare`; follows from settings, cases and data, not from the code, so that an edited comment does not
            change what is drawn.
    """

    text: str
    on_disk: bool
    seed: int


def state_key(preparation: Preparation, cases: CaseSet, about: Mapping[str, Any], device: str) -> StateKey:
    """Of everything that decides what a preparation makes.

    Args:
        about: JSON values: what the cases' data are, and the preprocessing that they went through.
    """
    cls = type(preparation)
    packages = dict.fromkeys(base.__module__.partition(".")[0] for base in cls.__mro__)
    code = {name: package_hash(name) for name in packages if name not in _LIBRARIES}
    on_disk = all(code.values())
    asked = {
        "preparation": [f"{cls.__module__}.{cls.__qualname__}", preparation.about],
        "cases": [[case.id, list(cases.visible(case))] for case in cases.cases],
        "about": about,
    }
    parts = {**asked, "code": code if on_disk else [code, id(cls)], "device": device}
    text = hashlib.sha256(canonical(parts).encode()).hexdigest()[:40]
    return StateKey(text, on_disk, derive(0, "preparation", canonical(asked)))


@dataclass(frozen=True)
class Prepared:
    """What a model had prepared for a cell.

    Attributes:
        records: of each preparation, as the cell's record has them: settings, key, ledger, whether it was computed for
            this cell, and the seconds that it took where it was computed.
        notes: lines for the reader of the results.
    """

    preparations: tuple[FittedPreparation, ...] = ()
    records: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def prepared(
    wanted: Sequence[Preparation],
    train: CaseSet,
    preprocessor: Preprocessor,
    about: Mapping[str, Any],
    resources: SharedResources,
) -> Prepared:
    """Every preparation on the training cases: found in memory or on disk, or computed and then kept.

    Args:
        about: JSON values that say which data the cases have; under `modalities` how each is read.

    Raises:
        PluginError: a preparation reads another case, or what it gives is not named arrays of numbers.
    """
    notes: list[str] = []
    preparations, records = [], []
    for preparation in wanted:
        cases = shown_cases(train, preprocessor, preparation.reads)
        own = {
            **about,
            "modalities": {name: about["modalities"][name] for name in preparation.reads},
            "preprocess": preprocessor.restrict(preparation.reads).state(),
        }
        key = state_key(preparation, cases, own, resources.device.type)
        made = resources.preparation(key.text)
        computed = False
        if made is None:
            cache = current_cache() if resources.stored_states and key.on_disk else None
            stored, computed = _found_or_computed(preparation, cases, key, resources.device, cache, notes)
            made = FittedPreparation(preparation, stored.state, stored.ledger, key.text, stored.seconds)
            resources.keep_preparation(made)
        preparations.append(made)
        records.append(
            {
                **preparation.about,
                "key": key.text,
                "cases": len(made.ledger),
                "ledger": list(made.ledger),
                "computed": computed,
                "seconds": made.seconds,
            }
        )
    return Prepared(tuple(preparations), tuple(records), tuple(notes))


def _found_or_computed(
    preparation: Preparation,
    cases: CaseSet,
    key: StateKey,
    device: torch.device,
    cache: FeatureCache | None,
    notes: list[str],
) -> tuple[StoredState, bool]:
    """A state from disk, or computed and stored there; and whether it was computed."""
    if cache is None:
        return compute(preparation, cases, key.seed, device), True
    with ExitStack() as stack:
        try:
            # Whoever asks while another process computes waits for it: k-means of a fold's slides may take an hour.
            lock = state_file(cache, key.text)
            stack.enter_context(exclusive(lock.with_name(f".{lock.name}-lock"), float("inf")))
        except ResultsError:
            pass  # nothing can be written there: `store_state` says so
        stored, damage = load_state(cache, key.text)
        if stored is not None:
            return stored, False
        notes += [f"preparation {preparation.name!r}: {damage}"] if damage else []
        stored = compute(preparation, cases, key.seed, device)
        store_state(cache, key.text, stored)
        return stored, True


def of_fitted(preparations: Sequence[FittedPreparation], preparation: Preparation) -> State:
    """What a preparation has made: a copy, since weights that begin as its arrays would change them while they train.

    Raises:
        PluginError: the model has not declared it.
    """
    for made in preparations:
        if made.preparation == preparation:
            return made.copied_state()
    known = ", ".join(repr(made.preparation) for made in preparations) or "none"
    raise PluginError(f"ctx.prepared: {preparation!r} was not declared by preparations(); declared: {known}")


def restored(
    model: FusionModel, task: Task, preprocessor: Preprocessor, weights: State, records: Sequence[Mapping[str, Any]]
) -> tuple[Preprocessor, State]:
    """The preprocessor with what was prepared when a cell was fitted, and the model's own weights.

    Args:
        weights: of the cell, as they are stored.
        records: of the cell's preparations.

    Raises:
        ResultsError: the model now declares other preparations.
    """
    wanted = declared(model, task, preprocessor.specs)
    before = [{name: record[name] for name in ("name", "version", "settings")} for record in records]
    if [preparation.about for preparation in wanted] != before:
        names = ", ".join(f"{record['name']} {record['version']}" for record in before) or "none"
        raise ResultsError(
            f"model {type(model).name} declares other preparations than the stored cell has ({names}); fit it again"
        )
    own, states = split_arrays(weights, len(wanted))
    made = zip(wanted, states, records, strict=True)
    fitted = tuple(FittedPreparation(one, state, tuple(record["ledger"])) for one, state, record in made)
    return replace(preprocessor, preparations=fitted), own
