"""The cohort `my-plugin`: a clinical row and a bag of lesions, from CSV files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from fusionbench import BESIDE_SUITE, Case, DataError, Dataset, DatasetInfo, ModalityUse, Options, SurvivalTarget
from numpy.typing import NDArray

from fusionbench_my_plugin.table import Row, read_table

DAYS_PER_MONTH = 30.4375
CLINICAL = ("age", "stage", "subtype")
LESION = ("volume", "uptake", "necrosis")
DIED = {"1": True, "0": False}


class CohortOptions(Options):
    """What a suite may set, as `my-plugin[folder=/data/my-cohort]`.

    Attributes:
        folder: where `patients.csv` and `lesions.csv` lie; empty = the made-up ones in this package. Marked as a path,
            so that it begins beside a suite file that names it, and is no part of what the cohort is.
    """

    folder: Annotated[str, BESIDE_SUITE] = ""


class CsvCohort(Dataset):
    """Made-up patients; a quarter of them without a measurable lesion.

    `clinical`: age (years), stage (1 to 4), subtype (codes 1 to 3 without order); an empty cell is a missing value.
    `lesions`: a bag, one instance per lesion: volume (ml), uptake (SUV), necrosis (share of the volume). Follow-up is
    days since diagnosis in the file and months here; an event is a death, everyone else is censored.
    """

    name = "my-plugin"
    version = "1"  # part of every result's key: count it up when the cases change
    Options = CohortOptions
    options: CohortOptions

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            title="A made-up cohort of patients and their lesions",
            modalities={
                "clinical": ModalityUse("vector", len(CLINICAL), features=CLINICAL, categorical=frozenset({"subtype"})),
                "lesions": ModalityUse("bag", len(LESION), features=LESION),
            },
            endpoint="overall survival",
            licence="made up, no terms",
            checksums={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self._paths()},
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        if unit != "patient":
            raise DataError(f"{self.name} has no slides; set protocol.unit to 'patient'")
        patients, lesions = (read_table(path) for path in self._paths())
        bags = _by_patient(lesions, {row["patient"] for row in patients})
        return [_case(row, bags) for row in patients]

    def _paths(self) -> tuple[Path, Path]:
        """A cohort with `sources()` reads what `fusionbench data fetch` put under `self.home`."""
        folder = Path(self.options.folder) if self.options.folder else Path(__file__).parent
        return folder / "patients.csv", folder / "lesions.csv"


def _by_patient(lesions: Sequence[Row], patients: set[str]) -> Mapping[str, NDArray[np.float64]]:
    """Patient to (instance, feature)."""
    bags: dict[str, list[list[float]]] = defaultdict(list)
    for row in lesions:
        if row["patient"] not in patients:
            raise DataError(f"{row.where}: patient {row['patient']!r} is not in patients.csv; add the row or drop this")
        bags[row["patient"]].append([row.number(column) for column in LESION])
    return {patient: np.array(bag) for patient, bag in bags.items()}


def _case(row: Row, bags: Mapping[str, NDArray[np.float64]]) -> Case:
    """One patient; a modality that the patient lacks is a key that is absent from `refs`."""
    if row["died"] not in DIED:
        raise DataError(f"{row.where}: died is {row['died']!r}; write 1 (died) or 0 (alive when last seen)")
    patient = row["patient"]
    target = SurvivalTarget(time=row.number("days") / DAYS_PER_MONTH, event=DIED[row["died"]])
    clinical = np.array([row.number(column) for column in CLINICAL])
    refs: dict[str, Any] = {} if np.isnan(clinical).all() else {"clinical": clinical}
    if patient in bags:
        refs["lesions"] = bags[patient]
    return Case(id=patient, group=patient, target=target, refs=refs)
