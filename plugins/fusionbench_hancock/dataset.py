"""The HANCOCK cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Source, SuiteError, SurvivalTarget
from fusionbench import Options as BaseOptions
from fusionbench_hancock import files, tables, tiles

_ENDPOINTS = {"os": "overall survival", "rfs": "recurrence-free survival"}


class HancockOptions(BaseOptions):
    """
    Attributes:
        endpoint: "os" (213 deaths) or "rfs" (303 events: recurrence, metastasis, progress or death).
        tma: one bag `tma` of all tiles with their stain coded, or eight bags `tma-he`, `tma-cd3`, ...
    """

    endpoint: Literal["os", "rfs"] = "os"
    tma: Literal["bag", "stains"] = "bag"


@dataclass(frozen=True)
class _Modality:
    use: ModalityUse
    refs: Mapping[str, Any]  # patient to what the modality loads


class Hancock(Dataset):
    """763 head and neck cancer patients of one centre; which modalities a patient lacks is as it was in the clinic."""

    name = "hancock"
    Options = HancockOptions
    options: HancockOptions

    def info(self) -> DatasetInfo:
        _, clipped = self._targets
        notes = ["blood: missing values were imputed upstream, by the sex-specific mode over all patients"]
        if clipped:
            notes.append(f"{clipped} recurrence-free times of 0 days or less, before first treatment: clipped to 1 day")
        return DatasetInfo(
            title="HANCOCK: head and neck squamous cell carcinoma, tables and tissue micro-arrays",
            modalities={name: found.use for name, found in self._modalities.items()},
            endpoint=_ENDPOINTS[self.options.endpoint],
            citation="Doerrich et al., HANCOCK, https://hancock.research.fau.eu",
            licence=self.sources()[0].terms,
            checksums={path: source.sha256 for path, source in files.sources().items()},  # each compared when read
            notes=tuple(notes),
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case per patient, in the order of their numbers.

        Raises:
            SuiteError: for unit="slide": the cohort's tiles are not assigned to slides.
        """
        if unit != "patient":
            raise SuiteError("hancock: there are no slides in it; set protocol.unit = 'patient'")
        return tuple(self._case(patient, target) for patient, target in sorted(self._targets[0].items()))

    def sources(self) -> Sequence[Source]:
        return tuple(files.sources().values())

    def _case(self, patient: str, target: SurvivalTarget) -> Case:
        refs = {name: found.refs[patient] for name, found in self._modalities.items() if patient in found.refs}
        return Case(id=patient, group=patient, target=target, refs=refs)

    @cached_property
    def _targets(self) -> tuple[Mapping[str, SurvivalTarget], int]:
        return tables.read_targets(*self._read("targets.csv"), endpoint=self.options.endpoint)

    @cached_property
    def _modalities(self) -> Mapping[str, _Modality]:
        found = {name: _Modality(*tables.read_table(*self._read(file))) for name, file in tables.TABLES.items()}
        of_stain = {stain: tiles.read_tiles(*self._read(tiles.file_of(stain))) for stain in tiles.STAINS}
        if self.options.tma == "bag":
            return {**found, "tma": _Modality(tiles.joined_use(), tiles.joined(of_stain))}
        use = ModalityUse("bag", tiles.WIDTH)
        return {**found, **{f"tma-{stain.lower()}": _Modality(use, bags) for stain, bags in of_stain.items()}}

    def _read(self, name: str) -> tuple[bytes, str]:
        path = f"{tables.FOLDER}/{name}"
        return files.read(self.home, path), str(self.home / path)
