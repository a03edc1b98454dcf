"""The bags of TransNEO: the mutations, neoantigens and copy-number segments of each tumour, one instance a row.

Numbers are as published, logarithms where they span orders of magnitude; the reader of bags scales them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError, ModalityUse
from fusionbench_transneo.tables import require

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Instances = NDArray[np.float32]

Bags = tuple[ModalityUse, "dict[str, Instances]"]

_VARIANTS = ("SNV", "DNV", "TNV", "INS", "DEL")
_EFFECTS = (
    "Missense_Mutation",
    "Nonsense_Mutation",
    "Nonstop_Mutation",
    "Silent",
    "Frame_Shift_Del",
    "Frame_Shift_Ins",
    "In_Frame_Del",
    "In_Frame_Ins",
    "Splice_Site",
    "Translation_Start_Site",
    "Intron",
    "3'UTR",
    "5'UTR",
    "3'Flank",
    "5'Flank",
    "RNA",
    "IGR",
    "Targeted_Region",
)
_PEPTIDES = ("missense", "FS", "inframe_del", "inframe_ins")
_LOCI = ("HLA-A", "HLA-B", "HLA-C")
_CHROMOSOMES = (*map(str, range(1, 23)), "X")


def read_mutations(table: pd.DataFrame, where: str) -> Bags:
    """Supplementary Table 2: allele fraction; clonality, expression and antigenicity, each 0 in both of its columns
    where it was not determined; kind and effect of the variant.

    Raises:
        DataError: a column that is not there, a value that is not known, or a number that is not finite.
    """
    require(table, ("Donor.ID", "tumour.vaf"), where)
    parts = {"vaf": table["tumour.vaf"].to_numpy(np.float64)}
    parts |= _one_hot(table, "ClonalStatus", ("CLONAL", "SUBCLONAL"), where, optional=True)
    parts |= _one_hot(table, "ExpressedInRNA", ("YES", "NO"), where, optional=True)
    parts |= _one_hot(table, "Neoantigenic", ("YES", "NO"), where, optional=True)
    parts |= _one_hot(table, "Variant_Type", _VARIANTS, where)
    parts |= _one_hot(table, "MAF_Variant", _EFFECTS, where)
    return _bags(table["Donor.ID"], parts, where)


def read_neoantigens(table: pd.DataFrame, where: str) -> Bags:
    """Predicted neoantigens: allele fractions, binding in nM (log10) and its fold change from the unmutated peptide
    (log10; 0 where there is none, as after a frame shift), expression of the gene (log10), length, kind and HLA locus.

    Raises:
        DataError: a column that is not there, a value that is not known, or a number that is not finite.
    """
    plain = {"dna_vaf": "Tumor.DNA.VAF", "rna_vaf": "Tumor.RNA.VAF", "length": "Peptide.Length"}
    logs = {"binding": "Best.MT.Score", "fold_change": "Corresponding.Fold.Change", "expression": "Gene.Expression"}
    require(table, ("Trial.ID", "HLA.Allele", *plain.values(), *logs.values()), where)
    table = table.assign(
        **{"HLA.locus": table["HLA.Allele"].str[:5], logs["fold_change"]: table[logs["fold_change"]].fillna(1.0)}
    )
    parts = {name: table[column].to_numpy(np.float64) for name, column in plain.items()}
    parts |= {f"log10_{name}": np.log10(table[column].to_numpy(np.float64)) for name, column in logs.items()}
    parts |= _one_hot(table, "Variant.Type", _PEPTIDES, where)
    parts |= _one_hot(table, "HLA.locus", _LOCI, where)
    return _bags(table["Trial.ID"], parts, where)


def read_segments(table: pd.DataFrame, where: str) -> Bags:
    """Copy-number segments of ASCAT: copies of the major and the minor allele, length in megabases, chromosome.

    Raises:
        DataError: a column that is not there, a value that is not known, or a number that is not finite.
    """
    require(table, ("Trial.ID", "startpos", "endpos", "nMajor", "nMinor"), where)
    parts = {name: table[name].to_numpy(np.float64) for name in ("nMajor", "nMinor")}
    parts["megabases"] = (table["endpos"] - table["startpos"]).to_numpy(np.float64) / 1e6
    parts |= _one_hot(table, "chr", _CHROMOSOMES, where)
    return _bags(table["Trial.ID"], parts, where)


def _one_hot(
    table: pd.DataFrame, column: str, levels: Sequence[str], where: str, *, optional: bool = False
) -> dict[str, NDArray[np.float64]]:
    """A 0/1 column a level, named after both.

    Args:
        optional: a cell may be empty, and is then 0 in all columns.
    """
    require(table, (column,), where)
    cells = table[column]
    unknown = sorted({str(cell) for cell in (cells.dropna() if optional else cells)} - set(levels))
    if unknown:
        raise DataError(f"{where}: {column} holds {unknown[0]!r}; {', '.join(levels)} are known")
    texts = cells.map(str).to_numpy()
    return {f"{column}={level}": (texts == level).astype(np.float64) for level in levels}


def _bags(patients: pd.Series[str], parts: dict[str, NDArray[np.float64]], where: str) -> Bags:
    """Patient to (instance, feature), in the order of the rows."""
    values = np.column_stack(list(parts.values())).astype(np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        raise DataError(f"{where}: {list(parts)[column]} of row {row + 2} is not a finite number")
    rows = patients.groupby(patients).indices
    use = ModalityUse("bag", len(parts), features=tuple(parts))
    return use, {str(patient): values[index] for patient, index in rows.items()}
