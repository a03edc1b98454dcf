"""The TCGA cohorts: clinical and omic tables of PORPOISE, with public or own image features joined by patient."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import Dataset


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_tcga.cohorts import COHORTS

    return COHORTS
