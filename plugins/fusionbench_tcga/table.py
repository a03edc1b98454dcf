"""A cohort's table as published with PORPOISE: one row per diagnostic slide, patient-level omics and survival."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fusionbench import DataError
from fusionbench_tcga import barcodes

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CLINICAL = ("age", "is_female")
_META = ("case_id", "slide_id", "site", "survival_months", "censorship", *CLINICAL)
_GENE = re.compile(r".+_(rnaseq|cnv|mut)")


@dataclass(frozen=True, eq=False)
class Table:
    """A cohort's rows, in the file's order.

    Attributes:
        slides: slide barcodes (`TCGA-2F-A9KO-01Z-00-DX1`), unique.
        patients: patient barcodes, one per slide.
        sites: tissue source site codes, one per slide.
        time: (slide,) overall survival in months.
        event: (slide,) bool, True = death observed (the file says censorship = 1 - event).
        clinical: (slide, 2) age in years and is_female; NaN = missing.
        omic: (slide, gene column) z-scores, GISTIC -2..2 and 0/1 mutations, without age and sex.
        genes: names of the gene columns, `<gene>_<rnaseq|cnv|mut>`.
        histology: codes of OncoTree, one per slide; empty where the file has no `oncotree_code`.
    """

    slides: tuple[str, ...]
    patients: tuple[str, ...]
    sites: tuple[str, ...]
    time: Floats
    event: NDArray[np.bool_]
    clinical: Floats
    omic: Floats
    genes: tuple[str, ...]
    histology: tuple[str, ...]

    @cached_property
    def first(self) -> dict[str, int]:
        """Patient to its first row."""
        rows: dict[str, int] = {}
        for row, patient in enumerate(self.patients):
            rows.setdefault(patient, row)
        return rows

    @cached_property
    def tumours(self) -> dict[str, int]:
        """Slide to its row, without slides of normal tissue."""
        return {slide: row for row, slide in enumerate(self.slides) if not barcodes.is_normal(slide)}


def read_table(data: bytes, where: str) -> Table:
    """Parse and check a `tcga_<cohort>_all_clean.csv.zip`.

    Args:
        data: the file's bytes.
        where: the file's name for messages.

    Raises:
        DataError: naming file and column: a column is missing, a cell is no number, a slide stands twice, a barcode
            is malformed, survival is missing, or the rows of one patient contradict one another.
    """
    frame = _frame(data, where)
    missing = [c for c in _META if c not in frame.columns]
    if missing:
        raise DataError(f"{where}: no column {', '.join(missing)}; it must have the columns of PORPOISE's tables")
    genes = tuple(c for c in frame.columns if _GENE.fullmatch(c))
    if not genes or len(set(genes)) < len(genes):
        raise DataError(f"{where}: needs distinct gene columns named <gene>_rnaseq, <gene>_cnv or <gene>_mut")
    slides, patients = _barcodes(frame, where)
    censored = _numbers(frame, ("censorship",), where)[:, 0]
    time = _numbers(frame, ("survival_months",), where)[:, 0]
    _check_survival(time, censored, slides, where)
    table = Table(
        slides=slides,
        patients=patients,
        sites=tuple(frame["site"].astype(str)),
        time=time,
        event=censored == 0,
        clinical=_numbers(frame, CLINICAL, where),
        omic=_numbers(frame, genes, where),
        genes=genes,
        histology=tuple(frame["oncotree_code"].astype(str)) if "oncotree_code" in frame.columns else (),
    )
    _check_patients(table, where)
    return table


def _frame(data: bytes, where: str) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(io.BytesIO(data), compression="zip", index_col=0, low_memory=False)
    except (ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{where}: not a zip'd csv table ({' '.join(str(error).split())})") from error
    if frame.empty:
        raise DataError(f"{where}: has no rows")
    return frame


def _barcodes(frame: pd.DataFrame, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    slides, patients = [], []
    for slide_id, patient in zip(frame["slide_id"].astype(str), frame["case_id"].astype(str), strict=True):
        match = barcodes.SLIDE.match(slide_id)
        if match is None or match[0][:12] != patient:
            raise DataError(f"{where}: slide_id {slide_id!r} is no slide barcode of case_id {patient!r}")
        slides.append(match[0])
        patients.append(patient)
    twice = sorted({s for s in slides if slides.count(s) > 1}) if len(set(slides)) < len(slides) else []
    if twice:
        raise DataError(f"{where}: slide {twice[0]} stands in {slides.count(twice[0])} rows; keep one row per slide")
    return tuple(slides), tuple(patients)


def _numbers(frame: pd.DataFrame, columns: Sequence[str], where: str) -> Floats:
    """(row, column) float64, NaN where a cell is empty."""
    import pandas as pd

    part: Any = frame[list(columns)]
    text = [c for c in part.columns if not pd.api.types.is_numeric_dtype(part[c])]
    if text:
        numbers = pd.to_numeric(part[text[0]], errors="coerce")
        bad = part[text[0]][numbers.isna() & part[text[0]].notna()].iloc[0]
        raise DataError(f"{where}: column {text[0]!r} holds {bad!r}, which is no number")
    values = np.ascontiguousarray(part.to_numpy(dtype=np.float64))
    if np.isinf(values).any():
        column = columns[int(np.flatnonzero(np.isinf(values).any(axis=0))[0])]
        raise DataError(f"{where}: column {column!r} holds an infinite value")
    return values


def _check_survival(time: Floats, censored: Floats, slides: Sequence[str], where: str) -> None:
    bad_time = np.flatnonzero(~(time >= 0))
    if bad_time.size:
        row = int(bad_time[0])
        raise DataError(f"{where}: slide {slides[row]} has survival_months {time[row]:g}; write months, 0 or more")
    bad_flag = np.flatnonzero(~np.isin(censored, (0, 1)))
    if bad_flag.size:
        row = int(bad_flag[0])
        raise DataError(f"{where}: slide {slides[row]} has censorship {censored[row]:g}; write 1 = censored, 0 = death")


def _check_patients(table: Table, where: str) -> None:
    """All rows of a patient must say the same of the patient."""
    first = np.array([table.first[patient] for patient in table.patients])
    for what, values in (
        ("site", np.array(table.sites)[:, np.newaxis]),
        *([("oncotree_code", np.array(table.histology)[:, np.newaxis])] if table.histology else []),
        ("survival_months", table.time[:, np.newaxis]),
        ("censorship", table.event[:, np.newaxis]),
        ("age or is_female", table.clinical),
        ("omic columns", table.omic),
    ):
        differs = values != values[first]
        if values.dtype.kind == "f":
            differs &= ~(np.isnan(values) & np.isnan(values[first]))
        rows = np.flatnonzero(differs.any(axis=1))
        if rows.size:
            raise DataError(f"{where}: the slides of patient {table.patients[rows[0]]} differ in {what}")
