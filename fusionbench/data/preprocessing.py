"""Preprocessing fitted on training cases only, with a ledger of the ids each fitted state saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.errors import DataError, PluginError
from fusionbench.core.interfaces import FittedModality, Modality
from fusionbench.core.timing import PREPARE, span
from fusionbench.core.types import Case, CaseSet, ModalitySpec, PreparedBag, PreparedCase, RawBag
from fusionbench.data.bag_cache import CACHE_BYTES, BagCache
from fusionbench.data.case_guard import reading
from fusionbench.data.cohort import make_modality, read
from fusionbench.data.preparations import FittedPreparation, tokens_spec
from fusionbench.data.stored_use import use_as_json, use_from_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


def _floats(values: NDArray[Any]) -> Tensor:
    import torch  # here, so that planning, which fits nothing, need not load it

    return torch.from_numpy(values.astype(np.float32))


def _integers(values: NDArray[np.int64]) -> Tensor:
    import torch

    return torch.from_numpy(values)


@dataclass(frozen=True, eq=False)
class FittedPart:
    """One modality of a preprocessor: its reader and its fitted preprocessing.

    Attributes:
        ledger: sorted ids of the cases it was fitted on.
        coord_axes: width of the coords of these cases; 0 for none.
    """

    modality: Modality
    fitted: FittedModality
    ledger: tuple[str, ...]
    coord_axes: int
    cache: BagCache = field(default_factory=BagCache)

    def bag(self, case: Case) -> PreparedBag:
        """The prepared bag, (instance, feature), of a case that has the modality."""
        reading(self.modality.label, case)
        ref = case.refs[self.modality.label]
        bag = self.cache.get(case.id, ref)
        if bag is None:
            raw = read(self.modality, case)  # timed by itself: reading and preparing are phases of their own
            with span(PREPARE):
                values = self.fitted(raw)
            coords = None if raw.coords is None else _floats(raw.coords)
            piece = None if raw.piece is None else _integers(raw.piece)
            bag = PreparedBag(values, coords, raw.shape, piece)
            if isinstance(ref, np.ndarray):
                self.cache.put(case.id, ref, bag)
        return bag

    def differences(self, cases: Sequence[Case]) -> Sequence[str]:
        """How cases of a new cohort, which have the modality, differ from the training cases; one line each."""
        return self.fitted.differences(read(self.modality, case) for case in cases)

    @cached_property
    def mean(self) -> PreparedBag:
        """The training mean as a bag of one instance, at the origin where bags have coords."""
        # Coords where the other bags have them: a batch takes bags with coords or bags without, not both.
        coords = _floats(np.zeros((1, self.coord_axes))) if self.coord_axes else None
        axes = self.fitted.spec.axes
        return PreparedBag(self.fitted.mean().unsqueeze(0), coords, (1,) * axes if axes else None)


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Turns cases into prepared cases; picklable.

    Attributes:
        parts: modality to its fitted part, in the order the models see.
        fill: put the training mean, as one instance, where a modality is absent or hidden (policy `impute`).
        preparations: what the model had prepared; some make tokens that stand in the place of a case's bag.
    """

    parts: Mapping[str, FittedPart]
    fill: bool = False
    preparations: tuple[FittedPreparation, ...] = ()

    @cached_property
    def specs(self) -> Mapping[str, ModalitySpec]:
        """Modality name to its prepared form; of tokens, where a preparation makes them."""
        specs = {name: part.fitted.spec for name, part in self.parts.items()}
        return specs | {name: tokens_spec(specs[name], self._means[name]) for name in self.tokenised}

    @cached_property
    def tokenised(self) -> Mapping[str, FittedPreparation]:
        """Modality to the preparation whose tokens stand in the place of its bags.

        Raises:
            PluginError: two preparations make tokens of one modality, or what they make are no tokens.
        """
        found: dict[str, FittedPreparation] = {}
        for made in self.preparations:
            for name in made.preparation.reads:
                if made.tokens(name, self.parts[name].mean, "the training mean") is None:
                    continue
                if name in found:
                    both = f"{found[name].preparation.name!r} and {made.preparation.name!r}"
                    raise PluginError(f"preparations {both} both make tokens of modality {name!r}; let one do it")
                found[name] = made
        return found

    @cached_property
    def _means(self) -> Mapping[str, PreparedBag]:
        """Modality to the training mean, as the bag that a model is given of it."""
        means = {name: part.mean for name, part in self.parts.items()}
        made = {n: of.tokens(n, means[n], "the training mean") for n, of in self.tokenised.items()}
        return means | {name: bag for name, bag in made.items() if bag is not None}

    @property
    def ledger(self) -> Mapping[str, tuple[str, ...]]:
        """Modality to the ids of the cases that it was fitted on."""
        return {name: part.ledger for name, part in self.parts.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines that a reader of the results should know, from fitted modalities that have `notes`."""
        noted = ((name, getattr(part.fitted, "notes", ())) for name, part in self.parts.items())
        return tuple(f"modality {name!r}: {note}" for name, notes in noted for note in notes)

    def prepare(self, case: Case, visible: tuple[str, ...]) -> PreparedCase:
        """The prepared case with its `visible` modalities; to be used as `CaseSet.prepare`."""
        bags = {}
        # In the order of `parts`, not of `visible`: models see modalities in the cell's order.
        for name, part in self.parts.items():
            if name in visible:
                made = self.tokenised.get(name)
                bags[name] = part.bag(case) if made is None else self._tokens(made, name, case)
            elif self.fill:
                bags[name] = self._means[name]
        return PreparedCase(case.id, bags)

    def compute_tokens(self, cases: CaseSet) -> None:
        """Have the tokens of cases computed, so that they are there when batches are made."""
        for case in cases.cases:
            for name, made in self.tokenised.items():
                if name in cases.visible(case):
                    self._tokens(made, name, case)

    def _tokens(self, made: FittedPreparation, name: str, case: Case) -> PreparedBag:
        """A case's tokens, which are computed once."""
        bag = made.bag(name, case, partial(self.parts[name].bag, case))
        if bag.values.shape[1] != self.specs[name].dim:
            raise PluginError(
                f"{made.who} gives tokens of {bag.values.shape[1]} features for case {case.id!r}, and of "
                f"{self.specs[name].dim} for the training mean of {name!r}; give one width"
            )
        return bag

    def restrict(self, names: Sequence[str]) -> Preprocessor:
        """A preprocessor of fewer modalities, in the order of `names`; nothing is copied or fitted again."""
        kept = tuple(made for made in self.preparations if set(made.preparation.reads) <= set(names))
        return replace(self, parts={name: self.parts[name] for name in names}, preparations=kept)

    @classmethod
    def merge(cls, preprocessors: Iterable[Preprocessor]) -> Preprocessor:
        """One preprocessor from several with different modalities, in the order given; nothing is fitted again."""
        return cls({name: part for one in preprocessors for name, part in one.parts.items()})

    def imputing(self) -> Preprocessor:
        """The same preprocessor with `fill`: the training mean stands for absent and hidden modalities."""
        return replace(self, fill=True)

    def state(self) -> Mapping[str, Any]:
        """JSON values: modality to `ledger`, `coord_axes`, `use` and its own `state`; nothing else is stored."""
        return {
            name: {
                "ledger": list(part.ledger),
                "coord_axes": part.coord_axes,
                "use": use_as_json(part.modality.use),
                "state": dict(part.fitted.state()),
            }
            for name, part in self.parts.items()
        }

    @classmethod
    def restore(
        cls,
        state: Mapping[str, Any],
        modalities: Mapping[str, Modality],
        kinds: Mapping[str, type[Modality]] | None = None,
    ) -> Preprocessor:
        """The preprocessor whose `state` this is.

        Args:
            modalities: readers of the cohort that will be prepared.
            kinds: modality plugins by name, to read a modality that this cohort lacks; without them it is refused.

        Raises:
            DataError: the cohort does not declare a modality that was fitted, or has it with columns that do not fit.
        """
        return cls({name: _restored(name, part, modalities, kinds or {}) for name, part in state.items()})

    def differences(self, cases: Sequence[Case]) -> tuple[str, ...]:
        """How a new cohort's cases differ from the training cases in what can be read of them, one line each."""
        lines = []
        for name, part in self.parts.items():
            having = [case for case in cases if name in case.refs]
            if not having:
                lines.append(f"modality {name!r}: no case has it; it counts as missing")
            lines += [f"modality {name!r}: {line}" for line in part.differences(having)]
        return tuple(lines)


def _restored(
    name: str, part: Mapping[str, Any], modalities: Mapping[str, Modality], kinds: Mapping[str, type[Modality]]
) -> FittedPart:
    reader, trained = modalities.get(name), use_from_json(part["use"]) if "use" in part else None
    if reader is None and (trained is None or trained.modality not in kinds):
        declared = ", ".join(modalities) or "none"
        raise DataError(f"modality {name!r} was fitted, but this cohort declares {declared}; add it to the cohort")
    if reader is None:
        assert trained is not None
        reader = make_modality("the fitted model", name, trained, kinds)
    # what was fitted before `use` was stored needs the same columns
    fitted = reader.restore(part["state"]) if trained is None else reader.restore_for_new_cohort(part["state"], trained)
    return FittedPart(reader, fitted, tuple(part["ledger"]), int(part["coord_axes"]))


def fit_preprocessor(
    modalities: Mapping[str, Modality], train_cases: Sequence[Case], *, cache_bytes: int = CACHE_BYTES
) -> Preprocessor:
    """Fit each modality on the training cases that have it.

    Args:
        modalities: readers of the modalities that will be used.
        train_cases: training cases only; the ids of those that were read are recorded.
        cache_bytes: memory, per modality, for prepared bags of arrays.

    Raises:
        DataError: a modality is missing for all training cases, or a case cannot be read.
    """
    return Preprocessor({name: _fit(modality, train_cases, cache_bytes) for name, modality in modalities.items()})


def _fit(modality: Modality, cases: Sequence[Case], cache_bytes: int) -> FittedPart:
    have = [case for case in cases if modality.label in case.refs]
    if not have:
        raise DataError(
            f"none of {len(cases)} training cases has modality {modality.label!r}; leave it out or take other folds"
        )
    # Those without it do not enter: a mean imputed for them would shrink the variance.
    reader = _Reader(modality, have)
    with span(PREPARE):
        fitted = modality.fit(reader)
    return FittedPart(modality, fitted, tuple(sorted(reader.ids)), reader.coord_axes, BagCache(cache_bytes))


class _Reader:
    """Iterates over raw bags and records whose they were.

    One bag at a time, since a modality's slides may not fit into memory. The record is what `Modality.fit` really read:
    an audit compares it with the fold, so it must not be what fit was meant to read.
    """

    def __init__(self, modality: Modality, cases: Sequence[Case]) -> None:
        self.modality, self.cases = modality, cases
        self.ids: set[str] = set()
        self.coord_axes = 0

    def __iter__(self) -> Iterator[RawBag]:
        for case in self.cases:
            raw = read(self.modality, case)
            self.ids.add(case.id)  # after reading: an id in the ledger was really seen
            self.coord_axes = 0 if raw.coords is None else raw.coords.shape[1]
            yield raw
