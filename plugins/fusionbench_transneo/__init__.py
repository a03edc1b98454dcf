"""TransNEO: 168 breast cancers before neoadjuvant therapy, with tables, mutations, neoantigens and copy numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench import Dataset


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_transneo.dataset import TransNeo

    return [TransNeo]
