"""HANCOCK: 763 head and neck cancer patients with tables, ICD codes and tissue micro-array tiles."""

from __future__ import annotations

from collections.abc import Iterable

from fusionbench import Dataset, hookimpl


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_hancock.dataset import Hancock

    return [Hancock]
