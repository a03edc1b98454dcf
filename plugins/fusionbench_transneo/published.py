"""What the models of the publication scored on the external patients.

The file of scores calls patients of PBCP otherwise than the tables of features, and no list joins the two names. Its
external rows stand in the order of Supplementary Table 4: the ids of ARTemis' patients are the same, and a forest of
the published clinical features predicts the published clinical scores, in that order, with a Spearman correlation of
0.96.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from fusionbench import DataError
from fusionbench_transneo import external
from fusionbench_transneo.outcome import COMPLETE, RESIDUAL
from fusionbench_transneo.tables import require

if TYPE_CHECKING:
    import pandas as pd

MODEL, WITH_TREATMENT = "sammut-2022", "sammut-2022-with-treatment"
ROWS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Clinical": (MODEL, "clinical"),
        "Clinical+DNA": (MODEL, "clinical+dna"),
        "Clinical+RNA": (MODEL, "clinical+rna"),
        "Clinical+DNA+RNA": (MODEL, "clinical+dna+rna"),
        "Clinical+DNA+RNA+DigPath": (MODEL, "clinical+dna+rna+image"),
        "Integrated model": (WITH_TREATMENT, "clinical+dna+rna+image"),
    }
)
"""Column of the file to model and modalities; the integrated model has the therapy that was given, too."""

_ID, _CLASS, _EXTERNAL = "Trial.ID", "Class", "Validation"


def read_scores(scores: pd.DataFrame, where: str, patients: pd.DataFrame, patients_where: str) -> pd.DataFrame:
    """The scores of the six models on the 75 patients, one row a model and patient.

    Columns: model, modalities (joined with +), case (as `transneo[cohort=external]` calls it), and the probability of
    each class, `P(residual disease)` and `P(pCR)`: the columns of a predictions file beside its places.

    Args:
        scores: the published file.
        patients: all rows of Supplementary Table 4.

    Raises:
        DataError: a column that is not there, another number of patients, an id of ARTemis in another row, or a score
            outside of [0, 1].
    """
    import pandas as pd

    require(scores, (_ID, _CLASS, *ROWS), where)
    require(patients, (external.ID, external.COHORT), patients_where)
    rows, ids = scores[scores[_CLASS] == _EXTERNAL], patients[external.ID].astype(str).to_numpy()
    if len(rows) != len(ids):
        raise DataError(f"{where}: {len(rows)} external patients; {patients_where} has {len(ids)}")
    same = (patients[external.COHORT] == "ARTEMIS").to_numpy()
    apart = np.flatnonzero(same & (rows[_ID].to_numpy() != ids))
    if apart.size:
        row = int(apart[0])
        raise DataError(
            f"{where}: external row {row + 1} is {rows[_ID].iloc[row]}, and {ids[row]} in {patients_where}; the orders "
            "must be the same"
        )
    values = rows[list(ROWS)].to_numpy(np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"{where}: a score is outside of 0 to 1")
    frames = [
        pd.DataFrame(
            {
                "model": model,
                "modalities": modalities,
                "case": ids,
                f"P({RESIDUAL})": 1 - values[:, column],
                f"P({COMPLETE})": values[:, column],
            }
        )
        for column, (model, modalities) in enumerate(ROWS.values())
    ]
    return pd.concat(frames, ignore_index=True)
