"""The modality `my-plugin`: measurements repeated over time, an instance per visit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fusionbench import DataError, FittedModality, Modality, ModalitySpec, ModalityUse, Options, RawBag
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

Floats = NDArray[np.float64]


class VisitsOptions(Options):
    """What a dataset may set, as `ModalityUse("my-plugin", dim, options={"last": 5})`.

    Attributes:
        last: most recent visits that are kept; None = all.
        scale: each measurement to mean 0 and standard deviation 1 over the training visits.
    """

    last: int | None = Field(None, ge=1)
    scale: bool = True


class Visits(Modality):
    """A ref is the path of a JSON-lines file, or a sequence of its lines as text; a line is a visit.

    A line reads `{"month": 3.5, "values": [7.1, 140.0]}`: months since diagnosis and `dim` measurements, in the order
    of the dataset's `features`. The values become instances, the month their only coordinate.
    """

    name = "my-plugin"
    version = "1"  # part of every result's key: count it up when prepared values change
    kind = "bag"  # "vector" = exactly one instance; "grid" = instances with a shape
    Options = VisitsOptions
    options: VisitsOptions

    def load(self, ref: Any) -> RawBag:
        """(visit, dim) values and (visit, 1) months, earliest first."""
        where, lines = (f"{ref}, ", _lines(Path(ref))) if isinstance(ref, (str, Path)) else ("", ref)
        visits = [self._visit(f"{where}line {i}", line) for i, line in enumerate(lines, 1) if str(line).strip()]
        if not visits:
            raise DataError(f"{where}no visit; leave the modality out of this case to mark it as missing")
        visits.sort(key=lambda visit: visit[0])
        table = np.array(visits if self.options.last is None else visits[-self.options.last :])
        return RawBag(values=table[:, 1:], coords=table[:, :1])

    def _visit(self, where: str, line: Any) -> list[float]:
        """[month, *values] of a line."""
        try:
            record = json.loads(line)
            visit = [float(number) for number in (record["month"], *record["values"])]
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f'{where}: cannot be read ({error!r}); write {{"month": 0, "values": [...]}}') from error
        if len(visit) != 1 + self.use.dim:
            raise DataError(f"{where}: {len(visit) - 1} values where {self.use.dim} are declared")
        if not np.isfinite(visit).all():
            raise DataError(f"{where}: a value is NaN or infinite; leave the visit out")
        return visit

    def fit(self, train: Iterable[RawBag]) -> FittedVisits:
        """Mean and spread over all visits of the training cases; `train` is read once, a case at a time."""
        cases = [raw.values for raw in train]
        if not cases:
            raise DataError("no training case has it; leave the modality out or take other folds")
        visits = np.concatenate(cases).astype(np.float64)
        mean, sd = visits.mean(axis=0), visits.std(axis=0)
        if not self.options.scale:
            return FittedVisits(self._spec(), np.zeros_like(mean), np.ones_like(mean), mean)
        factor = np.divide(1.0, sd, out=np.zeros_like(sd), where=sd > 1e-12 * (1 + np.abs(mean)))  # constant: to 0
        return FittedVisits(self._spec(), mean, factor, np.zeros_like(mean))

    def restore(self, state: Mapping[str, Any]) -> FittedVisits:
        center, factor, average = (np.array(state[key], dtype=np.float64) for key in ("center", "factor", "average"))
        if len(center) != self.use.dim:
            raise DataError(f"fitted on {len(center)} measurements, and this cohort has {self.use.dim}; bring the same")
        return FittedVisits(self._spec(), center, factor, average)

    @classmethod
    def examples(cls) -> tuple[ModalityUse, Sequence[Any]]:
        """What `fusionbench check` tries it on: how a dataset declares it, and the refs of some cases."""
        refs = [[json.dumps({"month": m, "values": [m + i, 10 - m]}) for m in range(1 + i % 4)] for i in range(20)]
        return ModalityUse(cls.name, 2), refs

    def _spec(self) -> ModalitySpec:
        return ModalitySpec(self.label, "bag", self.use.dim, features=self.use.features)


@dataclass(frozen=True, eq=False)
class FittedVisits(FittedModality):
    """A measurement x becomes (x - center) * factor; (feature,) each.

    Attributes:
        average: mean of the prepared training visits.
    """

    spec: ModalitySpec
    center: Floats
    factor: Floats
    average: Floats

    def __call__(self, raw: RawBag) -> Tensor:
        """(visit, feature) float32."""
        return torch.from_numpy(((raw.values - self.center) * self.factor).astype(np.float32))

    def mean(self) -> Tensor:
        """(feature,): one visit that stands for all where the harness fills in a missing modality."""
        return torch.from_numpy(self.average.astype(np.float32))

    def state(self) -> Mapping[str, Any]:
        return {key: getattr(self, key).tolist() for key in ("center", "factor", "average")}


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); leave the modality out of a case without file") from error
