"""What bags and grids share: checks of (instance, feature) arrays, and scaling learnt in one pass over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench.builtin.columns import SMALLEST_SD
from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import FittedModality, Options
from fusionbench.core.types import ModalitySpec, RawBag

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

ROWS = 4096
"""Instances widened to float64 at a time."""
CHUNK = 1 << 16
"""Numbers prepared at a time: 256 KiB of them, which stay in the processor's cache from one step to the next."""


class InstanceOptions(Options):
    """Preprocessing of instances.

    Attributes:
        scale: "standard" = each feature to mean 0 and standard deviation 1 over all training instances (0 where it
            is constant there); "none" = as they are.
    """

    scale: Literal["standard", "none"] = "standard"


def check_instances(where: str, values: NDArray[Any], dim: int) -> None:
    """Shape and type of an (instance, feature) array; `where` begins the message.

    Raises:
        DataError: no instance, another width than declared, or no numbers.
    """
    if values.dtype.kind not in "fiub":
        raise DataError(f"{where}expected numbers, got {values.dtype}")
    if values.ndim != 2:
        raise DataError(f"{where}expected (instance, feature), got an array of shape {values.shape}")
    if values.shape[0] == 0:
        raise DataError(f"{where}no instance; leave the modality out of this case to mark it as missing")
    if values.shape[1] != dim:
        raise DataError(f"{where}{values.shape[1]} features where its fellows have {dim}; extract all with one encoder")


def as_float32(where: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """The same numbers as float32.

    Raises:
        DataError: a value is NaN or infinite (also: beyond the range of float32).
    """
    with np.errstate(over="ignore"):
        out = values.astype(np.float32, copy=False)
    bad = np.argwhere(~np.isfinite(out))
    if bad.size:
        position = ", ".join(map(str, bad[0]))
        raise DataError(f"{where}{len(bad)} values are NaN or infinite, the first at ({position}); extract them again")
    return out


@dataclass
class Moments:
    """Running mean and sum of squared deviations, float64; merging as in Chan, Golub and LeVeque (1983)."""

    count: int
    mean: Floats
    squares: Floats

    @classmethod
    def empty(cls, dim: int) -> Moments:
        """Of no instance yet."""
        return cls(0, np.zeros(dim), np.zeros(dim))

    def add(self, values: NDArray[Any]) -> None:
        """Take in (instance, feature) float32 values."""
        x = values.astype(np.float64)
        mean, n, total = x.mean(axis=0), len(x), self.count + len(x)
        delta = mean - self.mean
        x -= mean
        self.squares += np.square(x, out=x).sum(axis=0) + delta**2 * (self.count * n / total)
        self.mean += delta * (n / total)
        self.count = total

    @property
    def sd(self) -> Floats:
        """Over the instances themselves (ddof 0); exactly 0 where all are equal, since float32 sums are exact here."""
        return np.asarray(np.sqrt(self.squares / max(self.count, 1)))


@dataclass(frozen=True, eq=False)
class FittedInstances(FittedModality):
    """An instance x becomes (x - center) * factor.

    Attributes:
        average: (feature,) mean of the prepared training instances.
    """

    spec: ModalitySpec
    center: Floats
    factor: Floats
    average: Floats

    def __call__(self, raw: RawBag) -> Tensor:
        import torch  # here, so that listing plugins does not load it

        source = torch.from_numpy(np.require(raw.values, requirements=["C", "W"]))
        center, factor = (torch.from_numpy(x.astype(np.float32)) for x in (self.center, self.factor))
        plain = not self.center.any() and bool((self.factor == 1).all())
        values = torch.empty(source.shape)
        rows = max(1, CHUNK // source.shape[1])
        for start in range(0, len(source), rows):
            part = values[start : start + rows]
            part.copy_(source[start : start + rows])  # a copy: the raw values may be somebody's
            if not plain:
                part.sub_(center).mul_(factor)
        return values

    def mean(self) -> Tensor:
        import torch

        return torch.from_numpy(self.average.astype(np.float32))

    def state(self) -> Mapping[str, Any]:
        return {name: getattr(self, name).tolist() for name in ("center", "factor", "average")}


def fit_instances(spec: ModalitySpec, train: Iterable[RawBag], options: InstanceOptions) -> FittedInstances:
    """One pass over the training cases; a case weighs as much as it has instances.

    Raises:
        DataError: no training case has the modality.
    """
    moments = Moments.empty(spec.dim)
    for raw in train:
        for start in range(0, len(raw.values), ROWS):
            moments.add(raw.values[start : start + ROWS])
    if moments.count == 0:
        raise DataError("no training case has it; leave the modality out or take other folds")
    if options.scale == "none":
        return FittedInstances(spec, np.zeros(spec.dim), np.ones(spec.dim), moments.mean)
    sd = moments.sd
    constant = sd < SMALLEST_SD
    factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, sd))
    return FittedInstances(spec, moments.mean, factor, np.zeros(spec.dim))


def restore_instances(spec: ModalitySpec, state: Mapping[str, Any]) -> FittedInstances:
    """The inverse of `FittedInstances.state`.

    Raises:
        DataError: another width than declared now.
    """
    if len(state["center"]) != spec.dim:
        raise DataError(
            f"modality {spec.name!r} was fitted on {len(state['center'])} features and this cohort has {spec.dim}; "
            "extract them with the same encoder"
        )
    return FittedInstances(spec, *(np.array(state[key], dtype=np.float64) for key in ("center", "factor", "average")))
