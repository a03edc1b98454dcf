"""The six gene groups of MCAT, as columns of a cohort's table."""

from __future__ import annotations

import io
from collections.abc import Sequence

from fusionbench import DataError

SUFFIXES = ("cnv", "mut", "rnaseq")
N_GROUPS = 6


def read_groups(data: bytes, columns: Sequence[str], where: str) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Group name to those of `columns` that measure its genes, sorted; and the names of the groups without any.

    Args:
        data: bytes of `signatures.csv`, a column of gene names per group, of unequal length.
        columns: gene columns, `<gene>_<rnaseq|cnv|mut>`. One column may stand in several groups.
        where: the file's name for messages.

    Raises:
        DataError: not six named columns.

    Source: Chen et al. 2021 (MCAT), who took the groups from Liberzon et al. 2015.
    """
    import pandas as pd

    frame = pd.read_csv(io.BytesIO(data), dtype=str)
    if frame.shape[1] != N_GROUPS:
        raise DataError(f"{where}: expected {N_GROUPS} columns of gene names, found {frame.shape[1]}")
    known = frozenset(columns)
    groups = {
        str(name): tuple(sorted({f"{gene}_{suffix}" for gene in genes.dropna() for suffix in SUFFIXES} & known))
        for name, genes in frame.items()
    }
    return groups, tuple(name for name, members in groups.items() if not members)
