"""TransNEO: breast cancers before neoadjuvant therapy, with tables, mutations, neoantigens and copy numbers; and the
cohorts and scores of its external validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    import pandas as pd

    from fusionbench import Dataset


@hookimpl
def fusionbench_datasets() -> Iterable[type[Dataset]]:
    from fusionbench_transneo.dataset import TransNeo

    return [TransNeo]


def published_scores(home: Path) -> pd.DataFrame:
    """What the published models scored on the patients of ARTemis and PBCP; see `published.read_scores`.

    Args:
        home: the data home.

    Raises:
        DataError: a file is missing, damaged, or its patients are not those of the table of features.
    """
    from fusionbench_transneo.dataset import TransNeo

    return TransNeo(TransNeo.Options(cohort="external"), home).published_scores()
