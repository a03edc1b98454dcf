"""METABRIC: 1,979 breast cancers with clinical columns and the mutations of a panel of 173 genes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import Dataset


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_metabric.dataset import Metabric

    return [Metabric]
