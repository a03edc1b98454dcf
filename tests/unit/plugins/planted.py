"""Columns of published files that the plugins leave out, planted back: what `data check` finds of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from fusionbench import Case, Dataset, DatasetInfo
from fusionbench.core.registry import discover
from fusionbench.data.inspection import examine

BY_CONTENT = ("predicts-event", "predicts-time", "level-of-event", "filled-by-event")


class Planted(Dataset):
    """A cohort with one of its tables alone, and further columns in it; texts are levels without order."""

    def __init__(self, inner: Dataset, modality: str, columns: pd.DataFrame) -> None:
        super().__init__(inner.options, inner.home)
        self.inner, self.modality = inner, modality
        numeric = {name: pd.api.types.is_numeric_dtype(columns[name]) for name in columns.columns}
        self.levels = frozenset(name for name, is_number in numeric.items() if not is_number)
        codes = {name: pd.Series(pd.factorize(columns[name])[0], columns.index) for name in self.levels}
        coded = {name: of.astype(np.float64).where(of >= 0) for name, of in codes.items()}
        self.columns = columns.assign(**coded).astype(np.float64)

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.inner.name

    def info(self) -> DatasetInfo:
        info = self.inner.info()
        use = info.modalities[self.modality]
        features = (*use.features, *self.columns.columns)
        use = replace(
            use, dim=use.dim + len(self.columns.columns), features=features, categorical=use.categorical | self.levels
        )
        return replace(info, modalities={self.modality: use})

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        having = [case for case in self.inner.cases(unit) if self.modality in case.refs]
        rows = self.columns.reindex([case.id for case in having]).to_numpy()
        return [
            replace(case, refs={self.modality: np.hstack([case.refs[self.modality], row])})
            for case, row in zip(having, rows, strict=True)
        ]


def found(inner: Dataset, modality: str, columns: pd.DataFrame) -> set[str]:
    """The planted columns that `data check` finds by what they hold, whatever their names.

    Args:
        columns: by case id.
    """
    seen = examine(Planted(inner, modality, columns), discover({"modalities"}).modalities).warnings
    assert {warning.where for warning in seen if warning.kind in BY_CONTENT} <= {modality}
    names = {name for warning in seen if warning.kind in BY_CONTENT for name in warning.names}
    assert names <= set(columns.columns), "no column of the cohort itself"
    return names
