"""A cohort whose two tables tell the same about a patient, each with noise of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from fusionbench import Case, DataError, Dataset, DatasetInfo, ModalityUse, Options, SurvivalTarget, hookimpl
from fusionbench.builtin.synthetic import survival_times
from fusionbench.core.seeds import derive

COLUMNS = 12
SIGNAL = 4
"""Columns that show the log hazard; the others are noise."""
TABLES = ("left", "right")


class TwinsOptions(Options):
    """
    Attributes:
        censoring: share of censored cases.
        noise: sd of the noise in every column; the log hazard has sd 1.
    """

    cases: int = Field(120, ge=20)
    censoring: float = Field(0.4, ge=0, lt=1)
    noise: float = Field(1.5, ge=0)
    seed: int = Field(0, ge=0)


class Twins(Dataset):
    """Swapping the names of the tables changes nothing but the draw, so no learner prefers one of them."""

    name = "twins"
    Options = TwinsOptions
    options: TwinsOptions

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            title="Two tables that tell the same",
            modalities={name: ModalityUse("vector", COLUMNS) for name in TABLES},
            endpoint="simulated survival",
            licence="generated",
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        if unit != "patient":
            raise DataError(f"{self.name} has no slides; set protocol.unit to 'patient'")
        n, rng = self.options.cases, np.random.default_rng(derive(self.options.seed, "twins"))
        risk = rng.standard_normal(n)
        time, event = survival_times(risk, self.options.censoring, rng)
        values = self.options.noise * rng.standard_normal((n, len(TABLES), COLUMNS))
        values[:, :, :SIGNAL] += risk[:, None, None]
        return [
            Case(f"case-{i:03d}", f"case-{i:03d}", SurvivalTarget(float(time[i]), bool(event[i])), refs)
            for i, refs in enumerate(dict(zip(TABLES, of_case, strict=True)) for of_case in values)
        ]


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    return [Twins]
