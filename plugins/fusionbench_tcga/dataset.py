"""A TCGA cohort: PORPOISE's table of clinical and omic columns, joined with image features of the same patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fusionbench import (
    Case,
    Dataset,
    DatasetInfo,
    Fold,
    MaskRow,
    ModalityUse,
    PluginRef,
    Source,
    SuiteError,
)
from fusionbench import Options as BaseOptions
from fusionbench_tcga import barcodes, cdr, choice, dispro, endpoints, folds, genes, images, maps, shared, slides
from fusionbench_tcga.files import Reader, is_published, source
from fusionbench_tcga.options import TcgaOptions
from fusionbench_tcga.table import CLINICAL, Table, read_table

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ONLY_WITH: Mapping[str, tuple[str, ...]] = {
    "boe": ("roi",),
    "window": ("maps",),
    "channels": ("maps",),
    "layout": ("maps",),
    "axes": ("grid",),
    "downsample": ("maps", "grid"),
}
_CITATION = (
    "The Cancer Genome Atlas Research Network, https://www.cancer.gov/tcga; tables: Chen et al. 2022, Cancer Cell "
    "(PORPOISE); gene groups: Chen et al. 2021, ICCV (MCAT)"
)


class Tcga(Dataset):
    """Base of the cohorts; a subclass gives name and title."""

    title: ClassVar[str]
    Options = TcgaOptions
    options: TcgaOptions

    def __init__(self, options: BaseOptions, home: Path) -> None:
        """
        Raises:
            SuiteError: an image set or endpoint that this cohort does not have, or an option that needs another one.
        """
        super().__init__(options, home)
        self.cohort = self.name.removeprefix("tcga-")
        images.check_choice(self.cohort, self.options.image)
        self._endpoint = endpoints.ENDPOINTS[self.options.endpoint]
        if self._endpoint.cohort not in ("", self.cohort):
            only = f"endpoint={self.options.endpoint} belongs to tcga-{self._endpoint.cohort}"
            raise SuiteError(f"{self.name}: {only}; {', '.join(endpoints.of_cohort(self.cohort))} are known")
        if self.options.folds == "dispro" and self.cohort not in dispro.COHORTS:
            known = ", ".join(f"tcga-{cohort}" for cohort in dispro.COHORTS)
            raise SuiteError(f"{self.name}: option folds=dispro belongs to {known}")
        self._image = self.options.image.partition(":")[0]
        for option, sets in _ONLY_WITH.items():
            if option in self.options.model_fields_set and self._image not in sets:
                of = " or ".join(f"image={image}" for image in sets)
                raise SuiteError(f"{self.name}: option {option} belongs to {of}, not {self.options.image}")
        if self.options.shared and self.cohort != shared.COHORT:
            raise SuiteError(f"{self.name}: option shared belongs to tcga-{shared.COHORT}; METABRIC is breast cancer")
        if self.options.shared and "groups" in self.options.model_fields_set:
            raise SuiteError(f"{self.name}: option groups is of omic, in place of which shared=true brings 12 genes")
        given = [name for name in ("shared", "stage_grade", "clinical_stage") if getattr(self.options, name)]
        if len(given) > 1:
            raise SuiteError(f"{self.name}: {'=true and '.join(given)}=true each bring the stage; leave one out")
        if self.options.downsample > 1 and (self._image, self.options.layout) == ("maps", "bag"):
            raise SuiteError(f"{self.name}: option downsample belongs to layout=grid or layout=both, not bag")
        chosen = self.options.model_dump(exclude_defaults=True)
        self._reader = Reader(home, str(PluginRef.of(self.name, **chosen)))

    @property
    def identity(self) -> PluginRef:
        """The option `image` without the place of its files, nothing of groups, which are not of the cases.

        A modality beside the others makes no other cohort.
        """
        options = dict(super().identity.options)
        options.pop("clinical_stage", None)
        return PluginRef.of(self.name, **{k: self._image if k == "image" else v for k, v in options.items()})

    @property
    def table_path(self) -> str:
        return f"porpoise/datasets_csv_mutsig/tcga_{self.cohort}_all_clean.csv.zip"

    def info(self) -> DatasetInfo:
        notes = tuple(self._notes())  # reads everything, so that the checksums are complete
        return DatasetInfo(
            title=f"TCGA-{self.cohort.upper()}: {self.title}",
            modalities=dict(self._uses),
            endpoint=self._endpoint.title,
            task="binary" if self._endpoint.classes else "survival",
            classes=self._endpoint.classes,
            endpoints=endpoints.of_cohort(self.cohort),
            citation=_CITATION,
            licence="; ".join(dict.fromkeys(s.terms for s in self.sources() if s.url)),
            checksums=dict(sorted(self._reader.checksums.items())),
            notes=notes,
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case per patient, or per slide of a tumour; in the order of the table."""
        rows = self._table.first.values() if unit == "patient" else self._table.tumours.values()
        made = (self._case(row, unit) for row in rows if self._table.patients[row] in self._targets[0])
        return tuple(made)

    def folds(self) -> Sequence[Fold] | None:
        """Five folds over patients; None where PORPOISE's files are neither published for this cohort nor there."""
        return self._folds[0]

    def masks(self) -> Mapping[str, Sequence[MaskRow]]:
        """DisPro's, where the folds are: without slides, without omic columns."""
        omic, images = self._omic[0], tuple(self._images)
        return {mask: tuple(dispro.mask_rows(rows, omic, images)) for mask, rows in self._dispro.items()}

    def sources(self) -> Sequence[Source]:
        asked = "folds" in self.options.model_fields_set
        splits = [p for p in folds.paths(self.cohort, self.options.folds) if asked or is_published(p)]
        groups = genes.FILES.get("" if self.options.shared else self.options.groups)
        paths = [self.table_path, *([groups] if groups else []), *splits]
        if self._needs_cdr:
            paths.append(cdr.PATH)
        if self._image in images.DERIVED:
            paths += images.DERIVED[self._image].sources
        if self.options.image == "maps":
            paths.append(maps.MAPS[self.cohort].path)
        return tuple(source(path) for path in paths)

    def slides(self, fetch: Callable[[Source], Path]) -> Sequence[Source]:
        """Those of the cohort's GDC manifest."""
        return slides.read_manifest(fetch(slides.manifest(self.cohort)), self.name)

    def convert(self, raw_dir: Path, out_dir: Path) -> None:
        """Make the tidy image file of the upstream ones, unless it is there already; its content is checked."""
        if self._image in images.DERIVED:
            from fusionbench_tcga.convert import convert_images

            convert_images(self._image, raw_dir, out_dir)

    @property
    def _needs_cdr(self) -> bool:
        chosen = self.options
        return chosen.stage_grade or chosen.clinical_stage or chosen.shared or endpoints.needs_cdr(chosen.endpoint)

    @cached_property
    def _table(self) -> Table:
        return read_table(self._reader.file(self.table_path), str(self.home / self.table_path))

    @cached_property
    def _groups(self) -> genes.Groups:
        """The groups of the columns of `omic`, and notes; `mutations` has none."""
        return ({}, ()) if self.options.shared else genes.of_option(self.options.groups, self._omic[1], self._reader)

    @cached_property
    def _cdr(self) -> pd.DataFrame:
        """The CDR's rows of the table's patients, in their order."""
        rows = cdr.read_cdr(self._reader.file(cdr.PATH), str(self.home / cdr.PATH))
        return rows.reindex(list(self._table.first))

    @cached_property
    def _targets(self) -> endpoints.Targets:
        """Patient to target, for the patients that have the endpoint; and notes."""
        if endpoints.needs_cdr(self.options.endpoint):
            return endpoints.from_cdr(self._cdr, self.options.endpoint, self.name, str(self.home / cdr.PATH))
        return endpoints.from_table(self._table, self.options.endpoint, str(self.home / self.table_path))

    @cached_property
    def _clinical(self) -> Mapping[str, tuple[tuple[str, ...], Floats]]:
        """Modality to column names and (row, column) values; a column without any value is left out."""
        if self.options.shared:
            values = shared.read_clinical(self._table, cdr.stages(self._cdr), str(self.home / self.table_path))
            return {"clinical": self._filled(shared.COLUMNS, values)}
        if self.options.stage_grade:
            return {"clinical": self._with_stage()}
        plain = {"clinical": self._filled(CLINICAL, self._table.clinical)}
        return {**plain, "clinical_stage": self._with_stage()} if self.options.clinical_stage else plain

    def _with_stage(self) -> tuple[tuple[str, ...], Floats]:
        """Column names and (row, column) values of the clinical columns with stage and grade."""
        stages, grades = cdr.stages(self._cdr), cdr.grades(self._cdr)
        more = np.array([(stages[patient], grades[patient]) for patient in self._table.patients])
        return self._filled((*CLINICAL, "stage", "grade"), np.hstack([self._table.clinical, more]))

    def _filled(self, columns: tuple[str, ...], values: Floats) -> tuple[tuple[str, ...], Floats]:
        """Those columns that have a value and are not known from the class."""
        full = [i for i in np.flatnonzero(~np.isnan(values).all(axis=0)) if columns[i] not in self._endpoint.known]
        return tuple(columns[i] for i in full), values[:, full]

    @cached_property
    def _omic(self) -> tuple[str, tuple[str, ...], Floats]:
        """Name, columns and (row, column) values of the modality of gene columns."""
        if self.options.shared:
            values = shared.read_mutations(self._table, str(self.home / self.table_path))
            return "mutations", shared.MUTATIONS, values
        return "omic", self._table.genes, self._table.omic

    @cached_property
    def _folds(self) -> tuple[Sequence[Fold] | None, tuple[str, ...]]:
        """The published folds, and what is to be noted about them."""
        if self._dispro:
            mask, of_folds = next(iter(self._dispro.items()))
            names = dispro.paths(self.cohort, mask)
            splits = [dispro.split_of(rows, name) for rows, name in zip(of_folds, names, strict=True)]
            return folds.folds_of(splits, tuple(self._table.first), frozenset(self._targets[0]))
        paths = folds.paths(self.cohort, self.options.folds)
        asked = "folds" in self.options.model_fields_set
        if not asked and not is_published(paths[0]) and not any((self.home / p).is_file() for p in paths):
            return None, ()
        reader = Reader(self.home, self._reader.dataset)
        texts = {p: reader.file(p) for p in paths}
        return folds.read_folds(texts, tuple(self._table.first), frozenset(self._targets[0]))

    @cached_property
    def _dispro(self) -> Mapping[str, Sequence[dispro.Rows]]:
        """DisPro's mask to the rows of its folds; empty where other folds are asked for."""
        reader, masks = Reader(self.home, self._reader.dataset), dispro.MASKS if self.options.folds == "dispro" else ()
        return {m: [dispro.read_rows(reader.file(p)) for p in dispro.paths(self.cohort, m)] for m in masks}

    @cached_property
    def _images(self) -> Mapping[str, images.ImageSet]:
        return choice.read_images(self.name, self.options, self._reader, frozenset(self._table.first))

    @cached_property
    def _uses(self) -> Mapping[str, ModalityUse]:
        name, of_genes, _ = self._omic
        uses = {of: ModalityUse("vector", len(c), features=c) for of, (c, _) in self._clinical.items()}
        uses[name] = ModalityUse("vector", len(of_genes), features=of_genes, groups=self._groups[0])
        if "clinical_stage" in uses and not endpoints.needs_cdr(self.options.endpoint):
            checksum = self._reader.checksums[cdr.PATH]
            uses["clinical_stage"] = replace(uses["clinical_stage"], checksum=checksum)
        return {**uses, **{name: found.use for name, found in self._images.items()}}

    def _case(self, row: int, unit: str) -> Case:
        table = self._table
        patient, slide = table.patients[row], table.slides[row]
        name, _, values = self._omic
        clinical = {of: read[row] for of, (_, read) in self._clinical.items()}
        refs: dict[str, Any] = {of: cells for of, cells in clinical.items() if not np.isnan(cells).all()}
        refs[name] = values[row]
        for name, found in self._images.items():
            image = found.ref(patient, slide if unit == "slide" else None)
            if image is not None:
                refs[name] = image
        return Case(
            id=patient if unit == "patient" else slide,
            group=patient if self.options.group == "patient" else table.sites[row],
            target=self._targets[0][patient],
            refs=refs,
        )

    def _notes(self) -> Iterator[str]:
        table = self._table
        yield from self._groups[1]
        known = self._endpoint.known
        of, (columns, _) = list(self._clinical.items())[-1]  # the one that may have stage
        staged = self.options.stage_grade or self.options.clinical_stage
        asked = {"stage", "grade"} if staged else set(shared.COLUMNS if self.options.shared else ())
        if asked & known:
            yield f"{of}: {' and '.join(sorted(asked & known))} left out, which the class determines"
        dropped = sorted(asked - known - set(columns))
        if dropped:
            yield f"{of}: {' and '.join(dropped)} not known for any patient; left out"
        yield from self._targets[1]
        redacted = cdr.redacted(self._cdr) if self._needs_cdr else ()
        if redacted:
            yield f"marked as redacted by the CDR: {', '.join(redacted)}; kept, as in PORPOISE's table"
        normal = [slide for slide in table.slides if slide not in table.tumours]
        yield from barcodes.tissue_lines(normal, table.tumours, f"of {len(table.slides)} slides in the table are")
        for name, found in self._images.items():
            having = sum(patient in found.by_patient for patient in self._targets[0])
            yield f"{name}: {having} of {len(self._targets[0])} patients have it"
            yield from found.notes
            if found.by_slide:
                slides = {slide: table.patients[row] for slide, row in table.tumours.items()}
                yield from barcodes.missing_slides(slides, found.by_slide, name)
        yield from self._folds[1]
        if not is_published(self.table_path):
            yield f"{self.table_path}: a file of your own; its checksum is recorded, not verified"
