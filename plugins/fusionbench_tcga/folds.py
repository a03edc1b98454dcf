"""The published five folds of PORPOISE and of SurvPath: each a csv with the columns `train` and `val` of patients.

Their `val` is what is tested. Files of one's own may have `test` beside them, as CLAM's; then `val` validates.
SurvPath's hold some of the patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal

from fusionbench import DataError, Fold
from fusionbench.builtin.table.published import SplitReader
from fusionbench.data.split_files import read_split

N_FOLDS = 5
Publisher = Literal["porpoise", "survpath"]


def paths(cohort: str, publisher: Publisher = "porpoise") -> tuple[str, ...]:
    """Places of the fold files under the data home."""
    return tuple(f"{publisher}/splits/5foldcv/tcga_{cohort}/splits_{i}.csv" for i in range(N_FOLDS))


def read_folds(
    files: Mapping[str, bytes], names: Mapping[str, str], kept: frozenset[str]
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    """The folds in the files' order; and a line each on ids that are not of the cohort, on patients whom a fold leaves
    out, and on patients whom several folds test.

    Args:
        files: name of each file to its bytes.
        names: patient, and each slide, to the patient; of all rows of the cohort's table.
        kept: patients that are cases (an endpoint may leave some out).

    Raises:
        DataError: a file that is no split, no patient of it in the cohort, or a patient in two parts of a fold.
    """
    splits = [replace(read_split(data, name), name=PurePosixPath(name).name) for name, data in files.items()]
    problems: list[str] = []
    patients = tuple(dict.fromkeys(names.values()))
    reader = SplitReader(patients, {name: (patient,) for name, patient in names.items()}, problems)
    folds = reader.folds(splits)
    if problems:
        raise DataError(f"{PurePosixPath(next(iter(files))).parent}: {problems[0]}")
    made = (Fold(*(tuple(i for i in part if i in kept) for part in (f.train, f.val, f.test))) for f in folds)
    return tuple(made), tuple(note for note in reader.notes if "no part is called test" not in note)
