"""PORPOISE's published five folds: each a csv with the columns `train` and `val` of patient barcodes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from fusionbench import DataError, Fold

N_FOLDS = 5


def paths(cohort: str) -> tuple[str, ...]:
    """Places of the fold files under the data home."""
    return tuple(f"porpoise/splits/5foldcv/tcga_{cohort}/splits_{i}.csv" for i in range(N_FOLDS))


def read_folds(files: Mapping[str, bytes], patients: frozenset[str], kept: frozenset[str]) -> Sequence[Fold]:
    """The folds in the files' order; their `val` is our test, and no third set is published.

    Args:
        files: name of each file to its bytes.
        patients: all patients of the cohort's table, which the test sets must partition.
        kept: those of them that are cases (an endpoint may leave some out).

    Raises:
        DataError: a patient on both sides of a fold, or the test sets do not partition the patients.
    """
    import pandas as pd

    tested: list[str] = []
    made = []
    for name, data in files.items():
        frame = pd.read_csv(io.BytesIO(data), dtype=str)
        if not {"train", "val"} <= set(frame.columns):
            raise DataError(f"{name}: no columns `train` and `val`; it must be a fold file of PORPOISE")
        train, test = frame["train"].dropna().tolist(), frame["val"].dropna().tolist()
        if set(train) & set(test) or set(train) | set(test) != patients:
            raise DataError(f"{name}: train and val do not divide the {len(patients)} patients of the table in two")
        tested += test
        made.append(Fold(tuple(sorted(kept & set(train))), (), tuple(sorted(kept & set(test)))))
    if len(tested) != len(patients):
        raise DataError(f"{', '.join(files)}: the five `val` sets overlap; they must hold each patient once")
    return tuple(made)
