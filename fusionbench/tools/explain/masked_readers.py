"""Readers of modalities that can mask a part of a case: instances of a bag, or columns of a vector.

The mask is applied where a case is read, before preprocessing. Every model sees it, also one that is built on other
models with preprocessing of their own.
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
class MaskedBag(RawBag):
    """A modality of one case, already read, with a part of it masked; a `MaskedReader` takes it in place of a ref.

    Attributes:
        mean_columns: columns of the prepared modality that are set to their training mean.
    """

    mean_columns: tuple[int, ...] = ()


def without_instances(raw: RawBag, removed: NDArray[np.intp]) -> MaskedBag:
    """The bag without the instances at the indices `removed`, in the order of the others.

    A grid keeps its shape, and the remaining instances keep their positions in it as `coords`.
    """
    keep = np.setdiff1d(np.arange(len(raw.values)), removed)
    coords = raw.coords
    if coords is None and raw.shape is not None:
        # A grid's positions follow from the order of its instances, which is broken once one of them is removed.
        coords = np.indices(raw.shape, dtype=np.float32).reshape(len(raw.shape), -1).T
    piece = None if raw.piece is None else raw.piece[keep]
    return MaskedBag(raw.values[keep], None if coords is None else coords[keep], raw.shape, piece)


def with_mean_columns(raw: RawBag, columns: Sequence[int]) -> MaskedBag:
    """The bag whose `columns`, counted after preprocessing, are set to their training mean."""
    return MaskedBag(raw.values, raw.coords, raw.shape, raw.piece, tuple(columns))


class MaskedReader(Modality):
    """A modality whose `load` also takes a `MaskedBag` for a ref; all else is done by the reader inside."""

    name = "masked"

    def __init__(self, inner: Modality) -> None:
        super().__init__(inner.label, inner.use, inner.options)
        self.inner = inner

    def load(self, ref: Any) -> RawBag:
        return ref if isinstance(ref, MaskedBag) else self.inner.load(ref)

    def pieces(self, ref: Any) -> Sequence[Piece]:
        return self.inner.pieces(ref)

    def fit(self, train: Iterable[RawBag]) -> FittedModality:
        return FittedMaskedReader(self.inner.fit(train))

    def restore(self, state: Mapping[str, Any]) -> FittedModality:
        return FittedMaskedReader(self.inner.restore(state))


class FittedMaskedReader(FittedModality):
    """Fitted preprocessing that sets the `mean_columns` of a `MaskedBag` to their training mean."""

    def __init__(self, inner: FittedModality) -> None:
        self.inner, self.spec = inner, inner.spec

    def __call__(self, raw: RawBag) -> Tensor:
        prepared = self.inner(raw)
        if isinstance(raw, MaskedBag) and raw.mean_columns:
            columns = list(raw.mean_columns)
            prepared = prepared.clone()  # it may be a view of raw values, which all masked variants share
            prepared[:, columns] = self.inner.mean()[columns]
        return prepared

    def mean(self) -> Tensor:
        return self.inner.mean()

    def state(self) -> Mapping[str, Any]:
        return self.inner.state()


def with_masked_readers(cohort: Cohort) -> Cohort:
    """The cohort with each of its modalities behind a `MaskedReader`."""
    return replace(cohort, modalities={name: MaskedReader(inner) for name, inner in cohort.modalities.items()})
