"""Gene groups as columns of a cohort's table: MCAT's signatures, SurvPath's pathways, or those of a user's file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from fusionbench import DataError
from fusionbench.data.group_files import match_groups, read_groups
from fusionbench_tcga.files import Reader

Published = Literal["signatures", "hallmarks", "reactome", "combine"]
SIGNATURES = "porpoise/datasets_csv/signatures.csv"
_PATHWAYS = "survpath/datasets_csv/metadata"
FILES = {
    "signatures": SIGNATURES,
    "hallmarks": f"{_PATHWAYS}/hallmarks_signatures.csv",
    "reactome": f"{_PATHWAYS}/xena_signatures.csv",
    "combine": f"{_PATHWAYS}/combine_signatures.csv",
}
"""Published groups to their files: 6 of Chen et al. 2021 (MCAT), who took them from Liberzon et al. 2015; of Jaume et
al. 2024 (SurvPath) the 50 hallmarks of MSigDB, 281 pathways of Reactome, and both."""
N_SIGNATURES = 6

Groups = tuple[dict[str, tuple[str, ...]], tuple[str, ...]]
"""Group to its columns, sorted; and notes."""


def of_option(groups: str, columns: Sequence[str], reader: Reader) -> Groups:
    """The groups that the option `groups` names; the checksum of their file goes to the reader's others.

    Args:
        columns: gene columns, `<gene>_<rnaseq|cnv|mut>`. One column may stand in several groups.

    Raises:
        DataError: the file cannot be read, is no file of groups, or none of its genes has a column.
    """
    if groups == "signatures":
        return signatures(reader.file(SIGNATURES), columns, str(reader.home / SIGNATURES))
    if groups in get_args(Published):
        data, place = reader.file(FILES[groups]), FILES[groups]
    else:
        try:
            data, place = Path(groups).expanduser().read_bytes(), groups
        except (OSError, ValueError) as error:  # the latter for names that no file can have
            reason, known = getattr(error, "strerror", None) or error, ", ".join(get_args(Published))
            raise DataError(
                f"groups={groups}: cannot be read ({reason}); name a file of groups, or one of {known}"
            ) from error
        # Not under its path: the same file elsewhere makes the same cohort.
        reader.checksums["groups"] = hashlib.sha256(data).hexdigest()
    # Messages name the place, notes the file alone: they are stored, and the cohort is the same elsewhere.
    file = replace(read_groups(data, place), name=Path(place).name)
    found = match_groups(file, columns, "omic")
    if found.problem:
        raise DataError(found.problem)
    return {group: tuple(sorted(of)) for group, of in found.columns.items()}, found.notes


def signatures(data: bytes, columns: Sequence[str], where: str) -> Groups:
    """MCAT's six; those without a column stay, with none: UCEC has no expression.

    Args:
        data: bytes of `signatures.csv`, a column of gene names per group, of unequal length.
        where: the file's name for messages.

    Raises:
        DataError: not six named columns.
    """
    file = read_groups(data, where)
    if len(file.genes) != N_SIGNATURES:
        raise DataError(f"{where}: expected {N_SIGNATURES} columns of gene names, found {len(file.genes)}")
    found = match_groups(file, columns, "omic").columns
    empty = [group for group in file.genes if group not in found]
    notes = (f"omic: no column for the gene groups {', '.join(empty)}; left out",) if empty else ()
    return {group: tuple(sorted(found.get(group, ()))) for group in file.genes}, notes
