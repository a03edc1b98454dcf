"""The HANCOCK cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Source, SuiteError
from fusionbench import Options as BaseOptions
from fusionbench.data.published_files import read_published
from fusionbench_hancock import files, tables, tiles
from fusionbench_hancock.endpoints import ENDPOINTS, Target, read_endpoint


class HancockOptions(BaseOptions):
    """
    Attributes:
        endpoint: survival: "os" (213 deaths), or "rfs" (303 events: recurrence, metastasis, progress or death);
            classes: "recurrence-2y" (133 of 589), "recurrence-3y" (150 of 514), "survival-5y" (173 deaths within five
            years of 416), each without the patients who were followed for less; "hpv" (p16-positive, 141 of 332).
        tma: one bag `tma` of all tiles with their stain coded, or eight bags `tma-he`, `tma-cd3`, ...
    """

    endpoint: Literal["os", "rfs", "recurrence-2y", "recurrence-3y", "survival-5y", "hpv"] = "os"
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
        endpoint = ENDPOINTS[self.options.endpoint]
        notes = ["blood: missing values were imputed upstream, by the sex-specific mode over all patients"]
        return DatasetInfo(
            title="HANCOCK: head and neck squamous cell carcinoma, tables and tissue micro-arrays",
            modalities={name: found.use for name, found in self._modalities.items()},
            endpoint=endpoint.title,
            task=endpoint.task,
            classes=endpoint.classes,
            endpoints={name: of.title for name, of in ENDPOINTS.items()},
            citation="Doerrich et al., HANCOCK, https://hancock.research.fau.eu",
            licence=self.sources()[0].terms,
            checksums={path: source.sha256 for path, source in files.sources().items()},  # each compared when read
            notes=(*notes, *self._targets[1]),
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

    def _case(self, patient: str, target: Target | None) -> Case:
        refs = {name: found.refs[patient] for name, found in self._modalities.items() if patient in found.refs}
        return Case(id=patient, group=patient, target=target, refs=refs)

    @cached_property
    def _targets(self) -> tuple[Mapping[str, Target | None], tuple[str, ...]]:
        return read_endpoint(self.options.endpoint, self._read("targets.csv"), self._read("pathological.csv"))

    @cached_property
    def _modalities(self) -> Mapping[str, _Modality]:
        known = ENDPOINTS[self.options.endpoint].known
        found = {name: _Modality(*tables.read_table(*self._read(file), known)) for name, file in tables.TABLES.items()}
        of_stain = {stain: tiles.read_tiles(*self._read(tiles.file_of(stain))) for stain in tiles.STAINS}
        if self.options.tma == "bag":
            return {**found, "tma": _Modality(tiles.joined_use(), tiles.joined(of_stain))}
        use = ModalityUse("bag", tiles.WIDTH)
        return {**found, **{f"tma-{stain.lower()}": _Modality(use, bags) for stain, bags in of_stain.items()}}

    def _read(self, name: str) -> tuple[bytes, str]:
        path = f"{tables.FOLDER}/{name}"
        return read_published(self.home, files.sources()[path], self.name)[0], str(self.home / path)
