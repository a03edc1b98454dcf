"""A made-up cohort that shows the modality at work; replace it by yours, or leave it out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Options, SurvivalTarget
from pydantic import Field

FEATURES = ("haemoglobin", "creatinine")  # g/dl, mg/dl


class CohortOptions(Options):
    """What a suite may set, as `my-plugin[cases=40]`.

    Attributes:
        cases: how many patients.
        seed: of the random numbers they are made of.
    """

    cases: int = Field(80, ge=10)
    seed: int = Field(0, ge=0)


class VisitCohort(Dataset):
    """`laboratory`: one to eight visits a patient; falling haemoglobin goes with an early death. A tenth lack it all.

    `clinical`: age (years). Times are months, and about a third of the patients are censored.
    """

    name = "my-plugin"
    version = "1"
    Options = CohortOptions
    options: CohortOptions

    def info(self) -> DatasetInfo:
        uses = {
            "clinical": ModalityUse("vector", 1, features=("age",)),
            "laboratory": ModalityUse("my-plugin", len(FEATURES), features=FEATURES),
        }
        return DatasetInfo(title="Made-up patients with repeated blood tests", modalities=uses)

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        rng = np.random.default_rng(self.options.seed)
        return [_case(f"patient-{i + 1:03d}", rng) for i in range(self.options.cases)]


def _case(patient: str, rng: np.random.Generator) -> Case:
    decline = rng.standard_normal()
    died, seen = 30 * rng.weibull(1.3) * np.exp(-0.7 * decline), rng.uniform(10, 80)
    months = np.sort(rng.uniform(0, 12, size=rng.integers(1, 9)))
    refs = {
        "clinical": np.array([rng.normal(64, 9)]),
        "laboratory": [_line(month, decline, rng) for month in months],  # or the path of a file with these lines
    }
    if rng.random() < 0.1:
        del refs["laboratory"]  # an absent key is a missing modality
    return Case(patient, patient, SurvivalTarget(float(min(died, seen)), bool(died <= seen)), refs)


def _line(month: float, decline: float, rng: np.random.Generator) -> str:
    values = (13 - 0.15 * month * (1 + decline) + rng.normal(0, 0.5), rng.lognormal(0, 0.3))
    return json.dumps({"month": round(month, 1), "values": [round(value, 2) for value in values]})
