"""PORPOISE's published five folds: each a csv with the columns `train` and `val` of patient barcodes.

Its `val` is what is tested. Files of one's own may have `test` beside them, as CLAM's; then `val` validates.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from fusionbench import DataError, Fold

N_FOLDS = 5


def paths(cohort: str) -> tuple[str, ...]:
    """Places of the fold files under the data home."""
    return tuple(f"porpoise/splits/5foldcv/tcga_{cohort}/splits_{i}.csv" for i in range(N_FOLDS))


def read_folds(files: Mapping[str, bytes], patients: frozenset[str], kept: frozenset[str]) -> Sequence[Fold]:
    """The folds in the files' order.

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
        own_val = "test" in frame.columns
        columns = ("train", "val", "test") if own_val else ("train", "", "val")
        train, val, test = (set(frame[column].dropna()) if column else set[str]() for column in columns)
        if len(train) + len(val) + len(test) != len(patients) or train | val | test != patients:
            what = "train, val and test" if own_val else "train and val"
            raise DataError(f"{name}: {what} do not divide the {len(patients)} patients of the table")
        tested += [] if own_val else test
        made.append(Fold(*(tuple(sorted(kept & part)) for part in (train, val, test))))
    if tested and len(tested) != len(patients):
        raise DataError(f"{', '.join(files)}: the five `val` sets overlap; they must hold each patient once")
    return tuple(made)
