"""The mutations of METABRIC's panel of 173 genes: 0/1 for each gene, or one instance for each mutation.

Silent mutations are left out of both. A patient without any row is missing, not free of mutations: the head of the file
lists every patient as sequenced, also those whom the study did not sequence.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError, ModalityUse

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Mutations = tuple[ModalityUse, dict[str, NDArray[np.float32]]]

COLUMNS = (_ID, _GENE, _EFFECT, _KIND, _HOTSPOT) = (
    "Tumor_Sample_Barcode",
    "Hugo_Symbol",
    "Variant_Classification",
    "Variant_Type",
    "Hotspot",
)
SHARED = (
    "CDH1",
    "GATA3",
    "KMT2C",
    "MAP3K1",
    "MUC16",
    "NCOR1",
    "PIK3CA",
    "PTEN",
    "RYR2",
    "SYNE1",
    "TP53",
    "USH2A",
)
"""The genes of the panel that PORPOISE's table of TCGA-BRCA has a column of mutations for."""

_SILENT = "Silent"
_PROTEIN = (
    "Missense_Mutation",
    "Nonsense_Mutation",
    "Nonstop_Mutation",
    "Frame_Shift_Del",
    "Frame_Shift_Ins",
    "In_Frame_Del",
    "In_Frame_Ins",
    "Splice_Site",
    "Splice_Region",
    "Translation_Start_Site",
)
_NON_CODING = ("Intron", "3'UTR", "5'UTR", "3'Flank", "5'Flank")
_EFFECTS = (*_PROTEIN, *_NON_CODING)
_KINDS = ("SNP", "INS", "DEL")
_RARE = 0.01
"""A gene is a column where at least this share of the patients with a row have a mutation of it in coding sequence or
splice sites: 119 genes."""


def read_vectors(rows: pd.DataFrame, patients: Collection[str], where: str, genes: Collection[str] = ()) -> Mutations:
    """Patient to (gene,): 1 = a mutation in coding sequence or splice sites. The columns are named `<gene>_mut`.

    Args:
        rows: all mutations, silent ones too.
        patients: the cohort's.
        genes: that are columns; empty for every one that is not rare.

    Raises:
        DataError: a value that is not known, or a gene without any mutation.
    """
    own = _of(rows, patients, where)
    changed = own[own[_EFFECT].isin(_PROTEIN)].drop_duplicates([_ID, _GENE])
    having = changed[_GENE].value_counts()
    sequenced = sorted(set(own[_ID]))
    chosen = tuple(sorted(genes or having.index[having >= _RARE * len(sequenced)]))
    absent = [gene for gene in chosen if gene not in having.index]
    if absent:
        raise DataError(f"{where}: no mutation of {', '.join(absent)}")
    place = {gene: column for column, gene in enumerate(chosen)}
    vectors = {patient: np.zeros(len(chosen), dtype=np.float32) for patient in sequenced}
    for patient, gene in zip(changed[_ID], changed[_GENE], strict=True):
        if gene in place:
            vectors[patient][place[gene]] = 1
    return ModalityUse("vector", len(chosen), features=tuple(f"{gene}_mut" for gene in chosen)), vectors


def read_bags(rows: pd.DataFrame, patients: Collection[str], where: str) -> Mutations:
    """Patient to (mutation, feature), in the order of the file: gene, effect, kind of variant, hotspot.

    A patient whose mutations are all silent has no bag.

    Raises:
        DataError: a value that is not known.
    """
    own = _of(rows, patients, where)
    own = own[own[_EFFECT] != _SILENT]
    genes = tuple(sorted(set(own[_GENE])))
    parts = {f"{column}={level}": own[column] == level for column, levels in _levels(genes).items() for level in levels}
    parts[_HOTSPOT] = own[_HOTSPOT] == 1
    values = np.column_stack(list(parts.values())).astype(np.float32)
    places = own.reset_index(drop=True).groupby(_ID).indices
    use = ModalityUse("bag", len(parts), features=tuple(parts))
    return use, {str(patient): values[index] for patient, index in places.items()}


def _levels(genes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {_GENE: genes, _EFFECT: _EFFECTS, _KIND: _KINDS}


def _of(rows: pd.DataFrame, patients: Collection[str], where: str) -> pd.DataFrame:
    """Rows of the cohort's patients, their values checked."""
    for column, known in ((_EFFECT, (*_EFFECTS, _SILENT)), (_KIND, _KINDS), (_HOTSPOT, (0, 1))):
        odd = rows[column][~rows[column].isin(known)]
        if len(odd):
            raise DataError(f"{where}: {column} holds {odd.iloc[0]!r}; {', '.join(map(str, known))} are known")
    return rows[rows[_ID].isin(set(patients))]
