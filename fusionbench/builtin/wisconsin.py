"""Breast Cancer Wisconsin (diagnostic), as bundled with scikit-learn: benign and malignant tumours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.options import Options
from fusionbench.core.types import Case, ClassTarget, DatasetInfo, ModalityUse

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODALITIES = {"texture": ("texture", "smoothness"), "shape": ("symmetry", "fractal dimension")}
"""Each made-up modality to the measures of a nucleus whose columns it has."""
CLASSES = ("benign", "malignant")


class WisconsinOptions(Options):
    """How much of the table is read.

    Attributes:
        cases: so many tumours, the first of the file.
    """

    cases: int = Field(569, ge=50, le=569)


class Wisconsin(Dataset):
    """569 tumours of the breast, 212 of them malignant; nothing to download.

    The columns describe the cell nuclei of one image of a fine needle aspirate: mean, standard error and worst value of
    each measure. **The two modalities are made up**, for want of a multimodal table that needs no download: `texture`
    holds the columns of texture and smoothness, `shape` those of symmetry and fractal dimension. The columns of size,
    compactness and concavity are left out: most of them tell nearly everything alone, and nothing is left to fuse. The
    bundled file has no ids: an id is the row's number, from 1.
    """

    name = "wisconsin"
    Options = WisconsinOptions
    options: WisconsinOptions

    def info(self) -> DatasetInfo:
        return DatasetInfo(
            title="Breast Cancer Wisconsin (diagnostic), part of a table as two made-up modalities",
            modalities={
                name: ModalityUse("vector", len(columns), features=tuple(self._names[i] for i in columns))
                for name, columns in self._modalities.items()
            },
            endpoint="malignant tumour",
            task="binary",
            classes=CLASSES,
            citation="Street, Wolberg and Mangasarian 1993, Proc. SPIE 1905",
            licence="CC BY 4.0, as distributed with scikit-learn",
            checksums={"sklearn.datasets.load_breast_cancer": self._checksum},
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        if unit != "patient":
            raise DataError(f"{self.name} has no slides; set protocol.unit to 'patient'")
        values, malignant = self._table
        cases = []
        for i, (row, is_malignant) in enumerate(zip(values, malignant, strict=True)):
            id_ = f"tumour-{i + 1:03d}"
            refs = {name: row[columns] for name, columns in self._modalities.items()}
            cases.append(Case(id_, id_, ClassTarget(CLASSES[int(is_malignant)]), refs))
        return tuple(cases)

    @cached_property
    def _bundled(self) -> Any:
        from sklearn.datasets import load_breast_cancer

        return load_breast_cancer()

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(map(str, self._bundled.feature_names))

    @cached_property
    def _modalities(self) -> dict[str, list[int]]:
        """Modality to the positions of its columns."""
        return {
            modality: [i for i, name in enumerate(self._names) if any(measure in name for measure in measures)]
            for modality, measures in MODALITIES.items()
        }

    @cached_property
    def _table(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(case, column), (case,) True = malignant."""
        named = [str(name) for name in self._bundled.target_names]
        if sorted(named) != sorted(CLASSES):
            raise DataError(f"{self.name}: scikit-learn's table has the classes {named}; install another version")
        n, malignant = self.options.cases, self._bundled.target == named.index("malignant")
        return np.asarray(self._bundled.data, np.float64)[:n], malignant[:n]

    @property
    def _checksum(self) -> str:
        """sha256 of the numbers, whatever file format they came in."""
        return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in self._table)).hexdigest()
