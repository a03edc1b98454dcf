"""The TransNEO cohort, and the two external cohorts of its publication."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionbench import Case, ClassTarget, Dataset, DatasetInfo, ModalityUse, Source, SuiteError
from fusionbench import Options as BaseOptions
from fusionbench.data.published_files import read_published, read_sheets
from fusionbench_transneo import bags, external, files, outcome, published, tables

if TYPE_CHECKING:
    import pandas as pd

_SHEETS = _CLINICAL, _MUTATIONS = ("Supplementary Table 1", "Supplementary Table 2")
_TRAINING = "training_df.csv"
_SCORES = f"{files.FOLDER}/{files.SCORES}"
_TITLES = {
    "transneo": "TransNEO: breast cancer before neoadjuvant therapy",
    "artemis": "ARTemis: breast cancer before neoadjuvant therapy, HER2-negative",
    "pbcp": "PBCP: breast cancer before neoadjuvant therapy",
    "external": "ARTemis and PBCP: breast cancer before neoadjuvant therapy",
}


class TransNeoOptions(BaseOptions):
    """
    Attributes:
        cohort: "transneo" is the one that the published predictor was trained on. It was tested on "external" (75; 19
            pCR), which is "artemis" (38; 3 pCR) and "pbcp" (37; 16 pCR): these have the four vectors, and no bags.
        endpoint: "pcr": pathological complete response, as against residual disease.
        cases: of cohort=transneo. "complete": the 147 patients (38 pCR) whom the published predictor was trained on;
            each has the four vectors. "all": every patient with a known response (162; 42 pCR); the other 15 have no
            `dna` and no `rna`, and no tumour size, since these were published of the 147 only.
    """

    cohort: Literal["transneo", "artemis", "pbcp", "external"] = "transneo"
    endpoint: Literal["pcr"] = "pcr"
    cases: Literal["complete", "all"] = "complete"


class TransNeo(Dataset):
    """Breast cancers sampled before neoadjuvant therapy: clinical, DNA, RNA and image features, and three bags."""

    name = "transneo"
    Options = TransNeoOptions
    options: TransNeoOptions

    def __init__(self, options: BaseOptions, home: Path) -> None:
        """
        Raises:
            SuiteError: option `cases` of an external cohort.
        """
        super().__init__(options, home)
        self._external = self.options.cohort != "transneo"
        if self._external and "cases" in self.options.model_fields_set:
            raise SuiteError(f"transneo: option cases belongs to cohort=transneo, not {self.options.cohort}")

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            title=_TITLES[self.options.cohort],
            modalities={name: use for name, (use, _) in self._modalities.items()},
            endpoint="pathological complete response",
            task="binary",
            classes=outcome.CLASSES,
            endpoints={"pcr": "pathological complete response"},
            citation="Sammut et al., Multi-omic machine learning predictor of breast cancer therapy response, 2022",
            licence=self.sources()[0].terms,
            checksums={path: files.sources()[path].sha256 for path in self._read_files},  # each compared when read
            notes=self._notes(),
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case per patient, in the order of their ids.

        Raises:
            SuiteError: for unit="slide": features of slides are published by patient.
        """
        if unit != "patient":
            raise SuiteError("transneo: there are no slides in it; set protocol.unit = 'patient'")
        vectors, targets = self._vectors, self._targets
        ids = targets if self._external or self.options.cases == "all" else vectors["rna"]
        return tuple(self._case(patient, targets[patient]) for patient in sorted(ids))

    def sources(self) -> Sequence[Source]:
        scores = (_SCORES,) if self._external else ()
        return tuple(files.sources()[path] for path in (*self._read_files, *scores))

    @property
    def _read_files(self) -> Sequence[str]:
        """Places under the data home of the files that the cohort is read from."""
        if self._external:
            return (f"{files.FOLDER}/{files.BOOK}",)
        return [path for path in files.sources() if path != _SCORES]

    def _case(self, patient: str, target: ClassTarget | None) -> Case:
        refs = {name: refs[patient] for name, (_, refs) in self._modalities.items() if patient in refs}
        return Case(id=patient, group=patient, target=target, refs=refs)

    def _notes(self) -> tuple[str, ...]:
        if self._external:
            return tuple(external.notes(self.options.cohort))
        none = "neoantigens: a patient without the bag has no predicted neoantigen"
        if self.options.cases == "complete":
            left_out = (
                "the patients of the published training table: those with all four vectors, less six who had a single "
                "cycle of chemotherapy or of anti-HER2 therapy, which was known only after baseline"
            )
            return (left_out, none)
        more = len([p for p, target in self._targets.items() if target and p not in self._vectors["rna"]])
        return (
            f"{more} patients have no dna, no rna and no tumour size: these were published of the others only",
            none,
        )

    @cached_property
    def _modalities(self) -> Mapping[str, tuple[ModalityUse, Mapping[str, Any]]]:
        """Name to how the reader takes it, and patient to what it reads."""
        columns = {"clinical": tables.CLINICAL, "dna": tables.DNA, "rna": tables.RNA, "image": tables.IMAGE}
        uses = {name: ModalityUse("vector", len(of), features=of) for name, of in columns.items()}
        vectors = {name: (use, self._vectors[name]) for name, use in uses.items()}
        if self._external:
            return vectors
        return {
            **vectors,
            "mutations": bags.read_mutations(self._sheets[_MUTATIONS], self._where(files.BOOK, _MUTATIONS)),
            "neoantigens": bags.read_neoantigens(*self._text("transneo-diagnosis-neoantigens.tsv.gz")),
            "segments": bags.read_segments(*self._text("transneo-diagnosis-ASCAT-segments.tsv.gz")),
        }

    def published_scores(self) -> pd.DataFrame:
        """What the published models scored; see `published.read_scores`."""
        features, where = self._sheets[external.SHEET], self._where(files.BOOK, external.SHEET)
        return published.read_scores(*self._text(files.SCORES), features, where)

    @cached_property
    def _vectors(self) -> Mapping[str, Mapping[str, Any]]:
        """Modality to patient to row."""
        if self._external:
            return external.read_vectors(*self._patients)
        training, where = self._text(_TRAINING)
        size = {p: float(row[0]) for p, row in tables.read_vectors(training, ("Size.at.diagnosis",), where).items()}
        clinical = tables.read_clinical(*self._patients, size)
        image, image_where = self._text("transneo-diagnosis-DigPathology.tsv.gz")
        return {
            "clinical": clinical,
            "dna": tables.read_vectors(training, tables.DNA, where),
            "rna": tables.read_vectors(training, tables.RNA, where),
            "image": tables.read_vectors(image, tables.IMAGE, image_where),
        }

    @cached_property
    def _targets(self) -> Mapping[str, ClassTarget | None]:
        return outcome.read_response(*self._patients)

    @cached_property
    def _patients(self) -> tuple[pd.DataFrame, str]:
        """The table of the cohort's patients, and its place."""
        if not self._external:
            return self._sheets[_CLINICAL], self._where(files.BOOK, _CLINICAL)
        where = self._where(files.BOOK, external.SHEET)
        return external.read_cohort(self._sheets[external.SHEET], self.options.cohort, where), where

    @cached_property
    def _sheets(self) -> Mapping[str, pd.DataFrame]:
        sheets = (external.SHEET,) if self._external else _SHEETS
        return read_sheets(self._read(files.BOOK), self._where(files.BOOK), sheets)

    def _text(self, name: str) -> tuple[pd.DataFrame, str]:
        """A table of text, and its place."""
        import pandas as pd

        data = io.BytesIO(self._read(name))
        zipped, tabs = name.endswith(".gz"), ".tsv" in name
        frame = pd.read_csv(data, sep="\t" if tabs else ",", compression="gzip" if zipped else None, dtype={"chr": str})
        return frame, self._where(name)

    def _read(self, name: str) -> bytes:
        return read_published(self.home, files.sources()[f"{files.FOLDER}/{name}"], str(self.identity))[0]

    def _where(self, name: str, sheet: str = "") -> str:
        place = str(self.home / files.FOLDER / name)
        return f"{place}, {sheet}" if sheet else place
