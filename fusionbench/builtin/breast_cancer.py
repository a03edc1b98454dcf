"""Node-negative breast cancer with 76 gene expressions (GSE7390), as bundled with scikit-survival."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.types import Case, DatasetInfo, ModalityUse, SurvivalTarget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DAYS_PER_MONTH = 30.4375
CLINICAL = ("age", "size", "er", "grade")
# Grade is ordered, so it stays one column. "unkown" is how the bundled file spells it.
CODES = {
    "er": {"negative": 0.0, "positive": 1.0},
    "grade": {"well differentiated": 1.0, "intermediate": 2.0, "poorly differentiated": 3.0, "unkown": np.nan},
}


class BreastCancer(Dataset):
    """198 patients, 51 with a distant metastasis; nothing to download.

    `clinical`: age (years), size of the tumour (cm), er (1 = oestrogen receptor positive), grade (1 well to 3 poorly
    differentiated; unknown for two patients). `genes`: log expression of the probes of the 76-gene signature. The
    bundled file has no patient ids: an id is the row's number, from 1.
    """

    name = "breast-cancer"

    def info(self) -> DatasetInfo:
        genes, clinical, _, _ = self._table
        return DatasetInfo(
            title="Breast cancer, TRANSBIG validation series (GSE7390)",
            modalities={
                "clinical": ModalityUse("vector", clinical.shape[1], features=CLINICAL),
                "genes": ModalityUse("vector", genes.shape[1], features=self._genes),
            },
            endpoint="time to distant metastasis",
            citation="Desmedt et al. 2007, Clin. Cancer Res. 13(11), 3207-14",
            licence="GEO series GSE7390, as distributed with scikit-survival",
            checksums={"sksurv.datasets.load_breast_cancer": self._checksum},
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        if unit != "patient":
            raise DataError(f"{self.name} has no slides; set protocol.unit to 'patient'")
        genes, clinical, days, event = self._table
        ids = [f"patient-{i + 1:03d}" for i in range(len(days))]
        return tuple(
            Case(
                id_,
                id_,
                SurvivalTarget(float(days[i]) / DAYS_PER_MONTH, bool(event[i])),
                {"clinical": clinical[i], "genes": genes[i]},
            )
            for i, id_ in enumerate(ids)
        )

    @cached_property
    def _frame(self) -> tuple[Any, Any]:
        from sksurv.datasets import load_breast_cancer

        x, y = load_breast_cancer()
        return x, y

    @property
    def _genes(self) -> tuple[str, ...]:
        return tuple(str(column) for column in self._frame[0].columns if column not in CLINICAL)

    @cached_property
    def _table(self) -> tuple[Floats, Floats, Floats, NDArray[np.bool_]]:
        """(case, gene), (case, covariate), (case,) days, (case,) True = metastasis observed."""
        x, y = self._frame
        absent = [column for column in CLINICAL if column not in x.columns]
        if absent:
            raise DataError(
                f"{self.name}: scikit-survival's table has no column {absent[0]!r}; install another version"
            )
        clinical = np.column_stack([_numbers(self.name, column, x[column]) for column in CLINICAL])
        genes = x[list(self._genes)].to_numpy(dtype=np.float64)
        return genes, clinical, y["t.tdm"].astype(np.float64), y["e.tdm"].astype(np.bool_)

    @property
    def _checksum(self) -> str:
        """sha256 of the numbers, whatever file format they came in."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in self._table)).hexdigest()


def _numbers(dataset: str, name: str, column: Any) -> Floats:
    if name not in CODES:
        return np.asarray(column.to_numpy(dtype=np.float64))
    unknown = sorted(set(column.astype(str)) - set(CODES[name]))
    if unknown:
        raise DataError(
            f"{dataset}: column {name!r} has the unknown level {unknown[0]!r}; install another scikit-survival"
        )
    return np.array([CODES[name][level] for level in column.astype(str)], dtype=np.float64)
