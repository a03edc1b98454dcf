"""LORIS: ten cohorts of cancer patients with clinical, blood and genomic values, nine of them under immunotherapy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import Dataset


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_loris.dataset import Loris

    return [Loris]
