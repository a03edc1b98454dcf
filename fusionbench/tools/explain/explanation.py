"""What is known of one case before one model, gathered; everything that is written is made of this."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusionbench.tools.explain.attention import Look, looks
from fusionbench.tools.explain.loaded_case import Subject
from fusionbench.tools.explain.occlusion import Occlusion, occlude
from fusionbench.tools.explain.select import Chosen
from fusionbench.tools.explain.tiles import Layer, layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOP = 15
"""Items that are named."""


@dataclass(frozen=True, eq=False)
class Part:
    """One modality of the case.

    Attributes:
        look: None where the model has no attention, or one item to choose from.
        layers: where its instances lie; empty where that is not known.
        notes: what could not be shown, and why.
    """

    name: str
    kind: str
    instances: int
    look: Look | None
    occlusion: Occlusion
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]

    @property
    def item_names(self) -> tuple[str, ...]:
        """Names of the items that were left out, in order."""
        return self.occlusion.items.names or tuple(f"instance {i}" for i in range(self.occlusion.items.count))

    @property
    def ranked(self) -> NDArray[np.intp]:
        """Items by attention, without it by the magnitude of their contribution; the highest first."""
        size = np.abs(self.occlusion.by_item)
        score = self.look.mean if self.look is not None else np.where(np.isnan(size), -1.0, size)
        return np.argsort(-score, kind="stable")

    @property
    def top(self) -> NDArray[np.intp]:
        """The items that are named."""
        return self.ranked[:TOP]


@dataclass(frozen=True, eq=False)
class Explanation:
    """A case before the model that predicted it.

    Attributes:
        risk: as predicted; higher = earlier event.
        fold_sd: standard deviation of the risks of its test fold.
        missing: the row's modalities that the case lacks.
        notes: lines for the reader.
    """

    chosen: Chosen
    risk: float
    fold_sd: float
    parts: tuple[Part, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def attends(self) -> bool:
        """Whether the model has attention on any modality."""
        return any(part.look is not None for part in self.parts)


def gather(subject: Subject, chosen: Chosen, slides: Path | None, draws: int) -> Explanation:
    """Look, leave out, and find where things lie.

    Raises:
        DataError: a slide image cannot be read.
    """
    seen = looks(subject)
    attends = subject.predictor.attention(subject.alone()) is not None
    parts = tuple(_part(subject, name, seen.get(name), slides, draws) for name in subject.visible)
    missing = tuple(name for name in subject.cell.modalities if name not in subject.visible)
    notes = (
        f"shown is repeat {subject.cell.repeat}, fold {subject.cell.fold}, in whose test fold the case is",
        *_of_missing(subject, missing),
        *_of_attention(subject, parts, attends=attends),
        *(note for part in parts for note in part.notes),
    )
    spread = float(np.std(subject.fold_risks, ddof=1)) if len(subject.fold_risks) > 1 else float("nan")
    return Explanation(chosen, subject.risk, spread, parts, missing, notes)


def _part(subject: Subject, name: str, look: Look | None, slides: Path | None, draws: int) -> Part:
    spec = subject.predictor.preprocessor.specs[name]
    where, notes = layers(subject, name, slides)
    occlusion = occlude(subject, name, look, draws)
    notes += [f"{name}: {occlusion.items.note}"] if occlusion.items.note else []
    return Part(name, spec.kind, len(subject.raw[name].values), look, occlusion, tuple(where), tuple(notes))


def _of_missing(subject: Subject, missing: Sequence[str]) -> Iterator[str]:
    filled = ", and the training mean stands for it" if subject.cell.policy == "impute" else ""
    yield from (f"the case has no {name}{filled}: no attention on it, nothing to leave out" for name in missing)


def _of_attention(subject: Subject, parts: Sequence[Part], *, attends: bool) -> Iterator[str]:
    """Where there is none, and why."""
    if not attends:
        model = subject.cell.model
        yield f"{model} has no attention: what leaving things out does to its risk is all there is to show"
    for part in parts:
        if part.look is None and attends:
            why = "it is one token, of weight 1 always" if part.instances == 1 else "the model does not choose there"
            yield f"attention says nothing of {part.name}: {why}; what leaving things out does is shown"
        if not part.occlusion.blocks:
            yield f"{part.name} is one instance, which cannot be left out of it"
