"""The TransNEO cohort."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from fusionbench import Case, ClassTarget, Dataset, DatasetInfo, ModalityUse, Source, SuiteError
from fusionbench import Options as BaseOptions
from fusionbench.data.published_files import read_published, read_sheets
from fusionbench_transneo import bags, files, outcome, tables

if TYPE_CHECKING:
    import pandas as pd

_SHEETS = _CLINICAL, _MUTATIONS = ("Supplementary Table 1", "Supplementary Table 2")
_BOOK = "Supplementary_Tables.xlsx"
_TRAINING = "training_df.csv"


class TransNeoOptions(BaseOptions):
    """
    Attributes:
        endpoint: "pcr": pathological complete response, as against residual disease.
        cases: "complete": the 147 patients (38 pCR) whom the published predictor was trained on; each has the four
            vectors. "all": every patient with a known response (162; 42 pCR); the other 15 have no `dna` and no `rna`,
            and no tumour size, since these were published of the 147 only.
    """

    endpoint: Literal["pcr"] = "pcr"
    cases: Literal["complete", "all"] = "complete"


class TransNeo(Dataset):
    """Breast cancers sampled before neoadjuvant therapy: clinical, DNA, RNA and image features, and three bags."""

    name = "transneo"
    Options = TransNeoOptions
    options: TransNeoOptions

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            title="TransNEO: breast cancer before neoadjuvant therapy",
            modalities={name: use for name, (use, _) in self._modalities.items()},
            endpoint="pathological complete response",
            task="binary",
            classes=outcome.CLASSES,
            endpoints={"pcr": "pathological complete response"},
            citation="Sammut et al., Multi-omic machine learning predictor of breast cancer therapy response, 2022",
            licence=self.sources()[0].terms,
            checksums={path: source.sha256 for path, source in files.sources().items()},  # each compared when read
            notes=self._notes(),
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case per patient, in the order of their numbers.

        Raises:
            SuiteError: for unit="slide": features of slides are published by patient.
        """
        if unit != "patient":
            raise SuiteError("transneo: there are no slides in it; set protocol.unit = 'patient'")
        complete, targets = self._vectors["rna"], self._targets
        ids = complete if self.options.cases == "complete" else targets
        return tuple(self._case(patient, targets[patient]) for patient in sorted(ids))

    def sources(self) -> Sequence[Source]:
        return tuple(files.sources().values())

    def _case(self, patient: str, target: ClassTarget | None) -> Case:
        refs = {name: refs[patient] for name, (_, refs) in self._modalities.items() if patient in refs}
        return Case(id=patient, group=patient, target=target, refs=refs)

    def _notes(self) -> tuple[str, ...]:
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
        return {
            **vectors,
            "mutations": bags.read_mutations(self._sheets[_MUTATIONS], self._where(_BOOK, _MUTATIONS)),
            "neoantigens": bags.read_neoantigens(*self._text("transneo-diagnosis-neoantigens.tsv.gz")),
            "segments": bags.read_segments(*self._text("transneo-diagnosis-ASCAT-segments.tsv.gz")),
        }

    @cached_property
    def _vectors(self) -> Mapping[str, Mapping[str, Any]]:
        """Modality to patient to row."""
        training, where = self._text(_TRAINING)
        size = {p: float(row[0]) for p, row in tables.read_vectors(training, ("Size.at.diagnosis",), where).items()}
        clinical = tables.read_clinical(self._sheets[_CLINICAL], self._where(_BOOK, _CLINICAL), size)
        image, image_where = self._text("transneo-diagnosis-DigPathology.tsv.gz")
        return {
            "clinical": clinical,
            "dna": tables.read_vectors(training, tables.DNA, where),
            "rna": tables.read_vectors(training, tables.RNA, where),
            "image": tables.read_vectors(image, tables.IMAGE, image_where),
        }

    @cached_property
    def _targets(self) -> Mapping[str, ClassTarget | None]:
        return outcome.read_response(self._sheets[_CLINICAL], self._where(_BOOK, _CLINICAL))

    @cached_property
    def _sheets(self) -> Mapping[str, pd.DataFrame]:
        return read_sheets(self._read(_BOOK), self._where(_BOOK), _SHEETS)

    def _text(self, name: str) -> tuple[pd.DataFrame, str]:
        """A table of text, and its place."""
        import pandas as pd

        data = io.BytesIO(self._read(name))
        zipped, tabs = name.endswith(".gz"), ".tsv" in name
        frame = pd.read_csv(data, sep="\t" if tabs else ",", compression="gzip" if zipped else None, dtype={"chr": str})
        return frame, self._where(name)

    def _read(self, name: str) -> bytes:
        return read_published(self.home, files.sources()[f"{files.FOLDER}/{name}"], self.name)[0]

    def _where(self, name: str, sheet: str = "") -> str:
        place = str(self.home / files.FOLDER / name)
        return f"{place}, {sheet}" if sheet else place
