"""The published five folds of PORPOISE and of SurvPath: each a csv with the columns `train` and `val` of patients.

Their `val` is what is tested. Files of one's own may have `test` beside them, as CLAM's; then `val` validates.
SurvPath's hold some of the patients.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from fusionbench import DataError, Fold
from fusionbench.data.split_files import PAIRS, PARTS, Split, read_split
from fusionbench_tcga import barcodes, dispro

N_FOLDS = 5
Publisher = Literal["porpoise", "survpath", "dispro"]


def paths(cohort: str, publisher: Publisher = "porpoise") -> tuple[str, ...]:
    """Places of the fold files under the data home; DisPro's hold its masks, too."""
    if publisher == "dispro":
        return dispro.all_paths(cohort)
    return tuple(f"{publisher}/splits/5foldcv/tcga_{cohort}/splits_{i}.csv" for i in range(N_FOLDS))


def read_folds(
    files: Mapping[str, bytes], patients: Sequence[str], kept: frozenset[str]
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """The folds in the files' order; and a line each on ids that are not of the cohort, on patients whom a fold leaves
    out, and on patients whom several folds test.

    Args:
        files: name of each file to its bytes, with ids of patients or of their slides.
        patients: all of the cohort's table.
        kept: those of them that are cases (an endpoint may leave some out).

    Raises:
        DataError: a file that is no split, one of which a part has no patient of the cohort, or that has a patient in
            two parts.
    """
    return folds_of([read_split(data, name) for name, data in files.items()], patients, kept)


def folds_of(
    splits: Sequence[Split], patients: Sequence[str], kept: frozenset[str]
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """Folds and notes of splits, as `read_folds` gives those of files."""
    folds = [_fold(split, frozenset(patients)) for split in splits]
    made = (Fold(*(tuple(i for i in part if i in kept) for part in (f.train, f.val, f.test))) for f in folds)
    return tuple(made), tuple(_notes(splits, folds, patients))


def _patient(id_: str) -> str:
    """The patient of a slide's barcode; any other id is one already."""
    match = barcodes.SLIDE.match(id_)
    return match[0][:12] if match else id_


def _fold(split: Split, patients: frozenset[str]) -> Fold:
    of_part = {part: {_patient(id_) for id_ in ids} & patients for part, ids in split.ids.items()}
    for part in ("train", "test"):
        if not of_part[part]:
            raise DataError(f"{split.name}: no patient of the cohort's table is in its {part} part; look at its ids")
    for first, second in PAIRS:
        both = of_part[first] & of_part[second]
        if both:
            raise DataError(
                f"{split.name}: slides of {len(both)} patients stand in both {first} and {second}, the first is of "
                f"{min(both)}; a patient stands on one side"
            )
    return Fold(*(tuple(sorted(of_part[part])) for part in PARTS))


def _notes(splits: Sequence[Split], folds: Sequence[Fold], patients: Sequence[str]) -> Iterator[str]:
    named = dict.fromkeys(id_ for split in splits for ids in split.ids.values() for id_ in ids)
    unknown = [id_ for id_ in named if _patient(id_) not in patients]
    if unknown:
        yield f"folds: {len(unknown)} of {len(named)} ids are not in the table, the first is {unknown[0]}; left out"
    left = [p for p in patients if any(p not in {*fold.train, *fold.val, *fold.test} for fold in folds)]
    if left:
        yield (
            f"folds: {len(left)} of {len(patients)} patients are in no part of a fold, the first is {left[0]}; with "
            "fold_source = 'published' they are left out of it"
        )
    often = [p for p, n in Counter(p for fold in folds for p in fold.test).items() if n > 1]
    if often:
        yield f"folds: {len(often)} of {len(patients)} patients are tested by several folds, the first is {often[0]}"
