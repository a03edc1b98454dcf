"""Shared by bags and grids: checks of (instance, feature) arrays, and standard scaling fitted in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench.builtin.columns import SMALLEST_SD
from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import FittedModality
from fusionbench.core.options import Options
from fusionbench.core.types import ModalitySpec, RawBag

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    Floats = NDArray[np.float64]

ROWS = 4096
"""Instances converted to float64 at a time."""
CHUNK = 1 << 16
"""Values scaled at a time: 256 KiB, which stay in the processor's cache between subtraction and multiplication."""

NO_INSTANCE = "no instance; leave the modality out of this case to mark it as missing"


class InstanceOptions(Options):
    """Preprocessing of instances.

    Attributes:
        scale: "standard" = each feature to mean 0 and standard deviation 1 over all training instances (0 where it
            is constant there); "none" = as they are.
        dataset: name of the array in each feature file; by default `features`, else the only one of two axes.
    """

    scale: Literal["standard", "none"] = "standard"
    dataset: str = ""


def check_instances(where: str, values: NDArray[Any], dim: int) -> None:
    """Check shape and type of an (instance, feature) array; `where` begins the message.

    Raises:
        DataError: no instance, another width than declared, or no numbers.
    """
    if values.dtype.kind not in "fiub":
        raise DataError(f"{where}expected numbers, got {values.dtype}")
    if values.ndim != 2:
        raise DataError(f"{where}expected (instance, feature), got an array of shape {values.shape}")
    if values.shape[0] == 0:
        raise DataError(f"{where}{NO_INSTANCE}")
    if values.shape[1] != dim:
        raise DataError(
            f"{where}{values.shape[1]} features where the other cases have {dim}; extract all with one encoder"
        )


def as_float32(where: str, values: NDArray[Any]) -> NDArray[np.float32]:
    """The values as float32.

    Raises:
        DataError: a value is NaN or infinite (also: beyond the range of float32).
    """
    with np.errstate(over="ignore"):
        out = values.astype(np.float32, copy=False)
    # After the conversion: a float64 beyond the range of float32 is infinite then.
    bad = np.argwhere(~np.isfinite(out))
    if bad.size:
        position = ", ".join(map(str, bad[0]))
        raise DataError(f"{where}{len(bad)} values are NaN or infinite, the first at ({position}); extract them again")
    return out


@dataclass
class Moments:
    """Running mean and sum of squared deviations of instances, in float64.

    Attributes:
        count: instances so far.
        mean: (feature,).
        squares: (feature,) sum of (x - mean)^2.

    Source: Chan, Golub and LeVeque 1983. A mean of squares minus the squared mean would lose digits where the mean is
    much larger than the standard deviation.
    """

    count: int
    mean: Floats
    squares: Floats

    @classmethod
    def empty(cls, dim: int) -> Moments:
        """Moments of no instance."""
        return cls(0, np.zeros(dim), np.zeros(dim))

    def add(self, values: NDArray[Any]) -> None:
        """Add the instances of an (instance, feature) array."""
        x = values.astype(np.float64)
        mean, n, total = x.mean(axis=0), len(x), self.count + len(x)
        delta = mean - self.mean
        # Two sets of n_a and n_b instances: M2 = M2_a + M2_b + delta^2 n_a n_b / (n_a + n_b).
        x -= mean
        self.squares += np.square(x, out=x).sum(axis=0) + delta**2 * (self.count * n / total)
        self.mean += delta * (n / total)
        self.count = total

    @property
    def sd(self) -> Floats:
        """(feature,) standard deviation, ddof 0; exactly 0 for equal values: their sums are exact in float64."""
        return np.asarray(np.sqrt(self.squares / max(self.count, 1)))


@dataclass(frozen=True, eq=False)
class FittedInstances(FittedModality):
    """Fitted scaling of instances: x becomes (x - center) * factor, in float32.

    Attributes:
        center, factor: (feature,).
        average: (feature,) mean of the prepared training instances.
    """

    spec: ModalitySpec
    center: Floats
    factor: Floats
    average: Floats

    def __call__(self, raw: RawBag) -> Tensor:
        import torch  # here, so that listing plugins does not load it

        # C-ordered and writable, as torch wants it; no copy of arrays that are so already.
        source = torch.from_numpy(np.require(raw.values, requirements=["C", "W"]))
        center, factor = (torch.from_numpy(x.astype(np.float32)) for x in (self.center, self.factor))
        identity = not self.center.any() and bool((self.factor == 1).all())
        values = torch.empty(source.shape)
        rows = max(1, CHUNK // source.shape[1])
        for start in range(0, len(source), rows):
            part = values[start : start + rows]
            part.copy_(source[start : start + rows])  # a copy: the raw values may be the dataset's own array
            if not identity:
                part.sub_(center).mul_(factor)
        return values

    def mean(self) -> Tensor:
        import torch

        return torch.from_numpy(self.average.astype(np.float32))

    def state(self) -> Mapping[str, Any]:
        return {name: getattr(self, name).tolist() for name in ("center", "factor", "average")}


def fit_instances(spec: ModalitySpec, train: Iterable[RawBag], options: InstanceOptions) -> FittedInstances:
    """Fit the scaling in one pass over the training cases; every instance has the same weight.

    Raises:
        DataError: no training case has the modality.
    """
    # In chunks: float64 copies of whole slides would take gigabytes.
    moments = Moments.empty(spec.dim)
    for raw in train:
        for start in range(0, len(raw.values), ROWS):
            moments.add(raw.values[start : start + ROWS])
    if moments.count == 0:
        raise DataError("no training case has it; leave the modality out or take other folds")
    if options.scale == "none":
        return FittedInstances(spec, np.zeros(spec.dim), np.ones(spec.dim), moments.mean)
    sd = moments.sd
    # Constant features become 0; 1 / sd would overflow float32.
    constant = sd < SMALLEST_SD
    factor = np.where(constant, 0.0, 1 / np.where(constant, 1.0, sd))
    return FittedInstances(spec, moments.mean, factor, np.zeros(spec.dim))


def restore_instances(spec: ModalitySpec, state: Mapping[str, Any]) -> FittedInstances:
    """The scaling whose `FittedInstances.state` this is.

    Raises:
        DataError: another width than declared now.
    """
    if len(state["center"]) != spec.dim:
        raise DataError(
            f"modality {spec.name!r} was fitted on {len(state['center'])} features and this cohort has {spec.dim}; "
            "extract them with the same encoder"
        )
    return FittedInstances(spec, *(np.array(state[key], dtype=np.float64) for key in ("center", "factor", "average")))
