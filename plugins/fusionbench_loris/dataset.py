"""The cohorts of LORIS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Source, SuiteError
from fusionbench import Options as BaseOptions
from fusionbench.data.published_files import read_published
from fusionbench_loris import files, overlap, tables
from fusionbench_loris.cohorts import COHORTS
from fusionbench_loris.outcome import DAYS_PER_MONTH, ENDPOINTS, Target, read_targets

if TYPE_CHECKING:
    import pandas as pd


class LorisOptions(BaseOptions):
    """
    Attributes:
        cohort: "chowell-train" (964 patients) is the one that LORIS was trained on; of the others "non-icb" had no
            immunotherapy.
        endpoint: survival: "os" or "pfs"; classes: "response". "vanguri" lacks os, "pradat" pfs, "non-icb" pfs and
            response.
        overlap: of "vanguri": true keeps the 119 of 246 patients who match patients of chowell-train, chowell-test or
            msk1; a kept patient's group is the case that it matches.
    """

    cohort: Literal[
        "chowell-train", "chowell-test", "msk1", "msk2", "kato", "shim", "vanguri", "ravi", "pradat", "non-icb"
    ] = "chowell-train"
    endpoint: Literal["os", "pfs", "response"] = "os"
    overlap: bool = False


class Loris(Dataset):
    """Cancer patients before immunotherapy, from ten cohorts: clinical, blood and genomic values, PD-L1."""

    name = "loris"
    Options = LorisOptions
    options: LorisOptions

    def __init__(self, options: BaseOptions, home: Path) -> None:
        """
        Raises:
            SuiteError: an endpoint that the cohort lacks, or `overlap` of another cohort than vanguri.
        """
        super().__init__(options, home)
        chosen = self.options.cohort
        self._cohort, self._endpoint = COHORTS[chosen], ENDPOINTS[self.options.endpoint]
        if reason := self._cohort.absent.get(self.options.endpoint):
            has = " or ".join(f"endpoint={name}" for name in self._endpoints)
            raise SuiteError(f"loris: cohort={chosen} has no {self._endpoint.title} ({reason}); choose {has}")
        if self.options.overlap and chosen != "vanguri":
            raise SuiteError(f"loris: option overlap belongs to cohort=vanguri, not {chosen}")

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            title=f"LORIS, {self.options.cohort}: {self._cohort.title}",
            modalities={name: use for name, (use, _) in self._modalities.items()},
            endpoint=self._endpoint.title,
            task="binary" if self._endpoint.classes else "survival",
            classes=self._endpoint.classes,
            endpoints=self._endpoints,
            citation="Chang et al., LORIS robustly predicts patient outcomes with immune checkpoint blockade, 2024",
            licence=self.sources()[0].terms,
            checksums={path: source.sha256 for path, source in files.sources().items()},  # compared when read
            notes=(*self._cohort.notes, *self._inputs[1], *self._outcome_notes()),
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case per patient who has the endpoint, in the order of the file.

        Raises:
            SuiteError: for unit="slide": there are no slides.
        """
        if unit != "patient":
            raise SuiteError("loris: there are no slides in it; set protocol.unit = 'patient'")
        return tuple(self._case(patient, target) for patient, target in self._targets.items())

    def sources(self) -> Sequence[Source]:
        return tuple(files.sources().values())

    def _case(self, patient: int, target: Target) -> Case:
        refs = {name: rows[patient] for name, (_, rows) in self._modalities.items() if patient in rows}
        own = (self.options.cohort, patient)
        group = overlap.of_vanguri().get(patient, own) if self.options.overlap else own
        return Case(id=_case_id(*own), group=_case_id(*group), target=target, refs=refs)

    @property
    def _endpoints(self) -> dict[str, str]:
        """Name to title of each endpoint that the cohort has."""
        return {name: of.title for name, of in ENDPOINTS.items() if name not in self._cohort.absent}

    def _outcome_notes(self) -> list[str]:
        table, endpoint = self._patients[0], self._endpoint
        without, notes = len(table) - len(self._targets), []
        if self._cohort.days and not endpoint.classes:
            notes.append(f"{endpoint.columns[1]}: holds days; divided by {DAYS_PER_MONTH:g}")
        if without:
            notes.append(f"{without} of {len(table)} patients have no {endpoint.title}: left out")
        return [*self._patients[1], *notes]

    @cached_property
    def _patients(self) -> tuple[pd.DataFrame, tuple[str, ...]]:
        """The cohort's table by patient, and what is to be said of who is in it."""
        table = tables.read_table(files.read_book(self._read(), str(self._path))[self._cohort.sheet], self._where)
        if self.options.cohort != "vanguri":
            return table, ()
        known = table.index.isin(list(overlap.of_vanguri()))
        what = f"{known.sum()} of {len(table)} patients match patients of chowell-train, chowell-test or msk1"
        if self.options.overlap:
            return table, (f"{what}: kept, each with the matching case as its group",)
        return table[~known], (f"{what}: left out; overlap=true keeps them",)

    @cached_property
    def _inputs(self) -> tuple[pd.DataFrame, tuple[str, ...]]:
        return tables.corrected(self._patients[0])

    @cached_property
    def _modalities(self) -> Mapping[str, tuple[ModalityUse, Mapping[int, Any]]]:
        return {name: (use, rows) for name, use, rows in tables.modalities(self._inputs[0])}

    @cached_property
    def _targets(self) -> Mapping[int, Target]:
        return read_targets(self._patients[0], self._endpoint, self._where, days=self._cohort.days)

    @property
    def _path(self) -> Path:
        return self.home / files.BOOK

    @property
    def _where(self) -> str:
        return f"{self._path}, {self._cohort.sheet}"

    def _read(self) -> bytes:
        return read_published(self.home, files.sources()[files.BOOK], self.name)[0]


def _case_id(cohort: str, patient: int) -> str:
    return f"{cohort}-{patient}"
