"""HANCOCK: 763 head and neck cancer patients with tables, ICD codes and tissue micro-array tiles."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import Dataset


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_hancock.dataset import Hancock

    return [Hancock]
