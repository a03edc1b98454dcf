"""The published file of LORIS, and reading its sheets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from fusionbench import Source
from fusionbench.data.published_files import read_sheets, read_sources
from fusionbench_loris.cohorts import COHORTS

if TYPE_CHECKING:
    import pandas as pd

BOOK = "loris_icb/AllData.xlsx"
_TERMS = (
    "GPL-3.0 (repository); the data under the terms of the papers that they are from: "
    "Chowell 2022, Kato 2020, Shim 2020, Vanguri 2022, Ravi 2023, Pradat 2023, Chang 2024; research use, cite them"
)


@cache
def sources() -> Mapping[str, Source]:
    """Place under the data home to source."""
    return read_sources("fusionbench_loris", {"rootchang/LORIS": _TERMS})


@lru_cache(maxsize=1)
def read_book(data: bytes, where: str) -> Mapping[str, pd.DataFrame]:
    """Sheet to table, of all cohorts; read once in a process, since the spreadsheet takes a second.

    Args:
        data: the spreadsheet's bytes.
        where: its name for messages.

    Raises:
        DataError: openpyxl is not installed.
    """
    return read_sheets(data, where, [cohort.sheet for cohort in COHORTS.values()])
