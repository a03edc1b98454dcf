"""Readers that can leave something of a case out: instances of a bag, or columns of a vector.

It happens where a case is read, so that every model feels it, also one that is built on other models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench.core.interfaces import FittedModality, Modality
from fusionbench.core.types import Piece, RawBag
from fusionbench.data.cohort import Cohort

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Partly(RawBag):
    """A modality of one case without a part of it; it stands in place of a ref, too.

    Attributes:
        averaged: columns of the prepared modality that get their training mean.
    """

    averaged: tuple[int, ...] = ()


def without_instances(raw: RawBag, gone: NDArray[np.intp]) -> Partly:
    """The bag without the instances at `gone`; a grid keeps its extents, and the others their positions."""
    keep = np.setdiff1d(np.arange(len(raw.values)), gone)
    coords = raw.coords
    if coords is None and raw.shape is not None:
        coords = np.indices(raw.shape, dtype=np.float32).reshape(len(raw.shape), -1).T
    return Partly(raw.values[keep], None if coords is None else coords[keep], raw.shape)


def with_average(raw: RawBag, columns: Sequence[int]) -> Partly:
    """The bag with the training mean in some columns, once it is prepared."""
    return Partly(raw.values, raw.coords, raw.shape, tuple(columns))


class Occludable(Modality):
    """A reader that also takes a `Partly` for a ref."""

    name = "occludable"

    def __init__(self, inner: Modality) -> None:
        super().__init__(inner.label, inner.use, inner.options)
        self.inner = inner

    def load(self, ref: Any) -> RawBag:
        return ref if isinstance(ref, Partly) else self.inner.load(ref)

    def pieces(self, ref: Any) -> Sequence[Piece]:
        return self.inner.pieces(ref)

    def fit(self, train: Iterable[RawBag]) -> FittedModality:
        return FittedOccludable(self.inner.fit(train))

    def restore(self, state: Mapping[str, Any]) -> FittedModality:
        return FittedOccludable(self.inner.restore(state))


class FittedOccludable(FittedModality):
    """Preprocessing that puts the training mean where a `Partly` wants it."""

    def __init__(self, inner: FittedModality) -> None:
        self.inner, self.spec = inner, inner.spec

    def __call__(self, raw: RawBag) -> Tensor:
        prepared = self.inner(raw)
        if isinstance(raw, Partly) and raw.averaged:
            columns = list(raw.averaged)
            prepared = prepared.clone()
            prepared[:, columns] = self.inner.mean()[columns]
        return prepared

    def mean(self) -> Tensor:
        return self.inner.mean()

    def state(self) -> Mapping[str, Any]:
        return self.inner.state()


def occludable(cohort: Cohort) -> Cohort:
    """The cohort, read so."""
    return replace(cohort, modalities={name: Occludable(inner) for name, inner in cohort.modalities.items()})
