"""The METABRIC cohort."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fusionbench import Case, Dataset, DatasetInfo, ModalityUse, Source, SuiteError
from fusionbench import Options as BaseOptions
from fusionbench.data.published_files import read_published
from fusionbench_metabric import clinical, files, mutations, outcome, selected

if TYPE_CHECKING:
    import pandas as pd


class MetabricOptions(BaseOptions):
    """
    Attributes:
        endpoint: survival: "os" (1,142 deaths) or "dss" (646 deaths of the disease; 496 of other causes are censored);
            classes: death within five years, "os-5y" (427 of 1,915) or "dss-5y" of the disease (337 of 1,825), without
            the patients of whom that is not known.
        mutations: "vector": 0/1 for each of 119 genes; "bag": one instance a mutation.
        label_selected: add `expression` (400 columns) and `copy_number` (200) as published by MDNNMD. Their columns
            were selected on the labels of all patients: they are no evidence of what a model or fusion gives.
        shared: only what TCGA-BRCA has too: age, stage and lobular type in `clinical`, 12 genes in `mutations`.
    """

    endpoint: Literal["os", "dss", "os-5y", "dss-5y"] = "os"
    mutations: Literal["vector", "bag"] = "vector"
    label_selected: bool = False
    shared: bool = False


class Metabric(Dataset):
    """1,979 breast cancers: clinical columns, and the mutations of a panel of 173 genes."""

    name = "metabric"
    Options = MetabricOptions
    options: MetabricOptions

    def __init__(self, options: BaseOptions, home: Path) -> None:
        """
        Raises:
            SuiteError: an option that `shared=true` leaves nothing of.
        """
        super().__init__(options, home)
        if self.options.shared and (self.options.label_selected or self.options.mutations == "bag"):
            option = "label_selected=true" if self.options.label_selected else "mutations=bag"
            raise SuiteError(f"metabric: {option} does not go with shared=true, which has 15 columns; leave one out")

    def info(self) -> DatasetInfo:
        endpoint = outcome.ENDPOINTS[self.options.endpoint]
        return DatasetInfo(
            title="METABRIC: primary breast cancer",
            modalities={name: use for name, (use, _) in self._modalities.items()},
            endpoint=endpoint.title,
            task="binary" if endpoint.classes else "survival",
            classes=endpoint.classes,
            endpoints={name: of.title for name, of in outcome.ENDPOINTS.items()},
            citation=(
                "Curtis et al., The genomic and transcriptomic architecture of 2,000 breast tumours, 2012; mutations: "
                "Pereira et al., The somatic mutation profiles of 2,433 breast cancers, 2016"
            ),
            licence=self.sources()[0].terms,
            checksums={source.path: source.sha256 for source in self.sources()},  # each compared when read
            notes=tuple(self._notes()),
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case per patient, in the order of their numbers.

        Raises:
            SuiteError: for unit="slide".
        """
        if unit != "patient":
            raise SuiteError("metabric: there are no slides in it; set protocol.unit = 'patient'")
        return tuple(self._case(patient, target) for patient, target in self._targets[0].items())

    def sources(self) -> Sequence[Source]:
        names = files.NAMED + (files.SELECTED if self.options.label_selected else ())
        return tuple(files.sources()[f"{files.FOLDER}/{name}"] for name in names)

    def _case(self, patient: str, target: outcome.Target | None) -> Case:
        refs = {name: of[patient] for name, (_, of) in self._modalities.items() if patient in of}
        return Case(id=patient, group=patient, target=target, refs=refs)

    def _notes(self) -> Iterator[str]:
        patients, having = self._patients, set(self._mutations["Tumor_Sample_Barcode"])
        yield from self._targets[1]
        yield from self._follow_up_notes()
        empty = [
            f"{int(self._tables[files.SAMPLES][source].isna().sum())} patients have no {name}"
            for name, source in (("stage", "TUMOR_STAGE"), ("grade", "GRADE"))
            if name in self._modalities["clinical"][0].features
        ]
        yield f"clinical: {' and '.join(empty)}; missing here, 2 in the table of MDNNMD"
        lacking = sum(patient not in having for patient in patients)
        yield f"mutations: {lacking} of {len(patients)} patients have no row; missing, not free of mutations"
        if self.options.mutations == "bag":
            silent = sum(p in having and p not in self._modalities["mutations"][1] for p in patients)
            yield f"mutations: {silent} patients have silent mutations only, and no bag"
        if self.options.label_selected:
            yield (
                "expression and copy_number: their columns were selected upstream on the labels of all patients, test "
                "patients included; no evidence of what a model or fusion gives"
            )

    def _follow_up_notes(self) -> Iterator[str]:
        known, patients = self._tables[files.PATIENTS], self._all[files.PATIENTS]
        here = set(self._patients)
        one = [str(p) for p in self._all[files.SURVIVAL].index if p not in here]
        other = [str(p) for p in patients.index[patients["AGE_AT_DIAGNOSIS"].notna()] if p not in here]
        if one or other:
            yield (
                f"left out: without clinical values {', '.join(one) or 'none'}, without follow-up "
                f"{', '.join(other) or 'none'}"
            )
        months = self._tables[files.SURVIVAL]["time"] / outcome.DAYS_PER_MONTH
        far = int(((months - known["OS_MONTHS"]).abs() > 1).sum())
        if far:
            yield f"follow-up: of {far} patients it differs by more than a month from OS_MONTHS of {files.PATIENTS}"

    @cached_property
    def _targets(self) -> outcome.Targets:
        rows = self._tables[files.SURVIVAL]
        return outcome.read_endpoint(rows, self.options.endpoint, self._where(files.SURVIVAL))

    @cached_property
    def _modalities(self) -> Mapping[str, tuple[ModalityUse, Mapping[str, Any]]]:
        """Name to how the reader takes it, and patient to what it reads."""
        shared, where = self.options.shared, self._where(files.MUTATIONS)
        places = {name: self._where(name) for name in self._tables}
        found: dict[str, tuple[ModalityUse, Mapping[str, Any]]] = {
            "clinical": clinical.read_clinical(self._tables, places, shared=shared)
        }
        if self.options.mutations == "bag":
            found["mutations"] = mutations.read_bags(self._mutations, self._patients, where)
        else:
            genes = mutations.SHARED if shared else ()
            found["mutations"] = mutations.read_vectors(self._mutations, self._patients, where, genes)
        if self.options.label_selected:
            for name, file in (("expression", files.EXPRESSION), ("copy_number", files.COPY_NUMBER)):
                block = selected.read_block(self._read(file), self.coded_rows, self._where(file))
                found[name] = (ModalityUse("vector", len(next(iter(block.values())))), block)
        return found

    @cached_property
    def coded_rows(self) -> tuple[str, ...]:
        """The patient of each row of MDNNMD's files."""
        where = self._where(files.CODED)
        coded = selected.read_numbers(self._read(files.CODED), where)
        return selected.join(coded, self._all[files.PATIENTS][list(selected.KEY)], where)

    @cached_property
    def _mutations(self) -> pd.DataFrame:
        data, where = self._read(files.MUTATIONS), self._where(files.MUTATIONS)
        return files.read_columns(data, where, mutations.COLUMNS)

    @cached_property
    def _patients(self) -> tuple[str, ...]:
        """Those with both follow-up and clinical values."""
        patients, followed = self._all[files.PATIENTS], self._all[files.SURVIVAL]
        return tuple(sorted(followed.index.intersection(patients.index[patients["AGE_AT_DIAGNOSIS"].notna()])))

    @cached_property
    def _tables(self) -> Mapping[str, pd.DataFrame]:
        """The cohort's rows of each table, in the order of the patients; empty cells where a table lacks one."""
        return {name: table.reindex(list(self._patients)) for name, table in self._all.items()}

    @cached_property
    def _all(self) -> Mapping[str, pd.DataFrame]:
        needed = {
            files.PATIENTS: ("PATIENT_ID", *clinical.columns_of(files.PATIENTS), "OS_MONTHS", "COHORT"),
            files.SAMPLES: ("PATIENT_ID", *clinical.columns_of(files.SAMPLES)),
            files.NODES: ("patientId", *clinical.columns_of(files.NODES)),
            files.SURVIVAL: outcome.COLUMNS,
        }
        return {name: files.read_patients(self._read(name), self._where(name), of) for name, of in needed.items()}

    def _read(self, name: str) -> bytes:
        return read_published(self.home, files.sources()[f"{files.FOLDER}/{name}"], self.name)[0]

    def _where(self, name: str) -> str:
        return str(self.home / files.FOLDER / name)
