"""The cohort that a TOML describes, as a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from fusionbench.core.errors import SuiteError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.options import BESIDE_SUITE
from fusionbench.core.options import Options as BaseOptions
from fusionbench.core.types import Case, DatasetInfo, Fold

if TYPE_CHECKING:
    from fusionbench.builtin.table.read import CohortFiles


class TableOptions(BaseOptions):
    """
    Attributes:
        file: the cohort's TOML; a relative path begins in the folder of the suite that names it, and on the command
            line where the command is given.
    """

    file: Annotated[str, BESIDE_SUITE] = "cohort.toml"


class Table(Dataset):
    """Your own cohort: a case table, and for each modality columns, another table, or a folder of slides' features.

    A TOML says which file and column is what; docs/own-data.md shows one.
    """

    name = "table"
    Options = TableOptions
    options: TableOptions
    own_files: ClassVar[bool] = True

    @property
    def path(self) -> Path:
        """The cohort's TOML."""
        return Path(self.options.file).expanduser()

    def info(self) -> DatasetInfo:
        from fusionbench.builtin.table.doubts import doubts

        files = self._files
        outcome = files.schema.outcome
        return DatasetInfo(
            title=files.schema.title or f"{self.path.stem}, a cohort of your own",
            modalities=dict(files.uses),
            endpoint=outcome.title if outcome else "not known",
            task=outcome.task if outcome else "survival",
            classes=files.classes,
            citation=files.schema.citation,
            licence=files.schema.licence,
            checksums=dict(files.checksums),
            notes=files.notes,
            warnings=(*files.warnings, *doubts(files)),
        )

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        """One case a row of the case table, in its order.

        Raises:
            FaultyCohort: all that is wrong with the TOML, or else with the files it names.
            SuiteError: for unit="slide": outcomes are of cases here.
        """
        if unit != "patient":
            raise SuiteError(
                f"{self.path}: its rows are cases; set protocol.unit = 'patient', and for slides as cases write a row "
                "a slide with the patient under `group`"
            )
        return self._files.cases

    def folds(self) -> Sequence[Fold] | None:
        """Those of the column `folds` or the files `splits`; see `published`."""
        return self._files.folds

    @cached_property
    def _files(self) -> CohortFiles:
        from fusionbench.builtin.table.read import read_cohort
        from fusionbench.data.cohort import FaultyCohort

        files = read_cohort(self.path)
        if files.problems:
            rest = Table(self.options, self.home)
            rest._files = files
            raise FaultyCohort(str(self.path), files.problems, rest if files.cases else None)
        return files

    @classmethod
    def example(cls, folder: Path) -> TableOptions:
        """Writes a small cohort of each kind of modality; for `fusionbench check`."""
        from fusionbench.builtin.table.example import write_example

        return TableOptions(file=str(write_example(folder)))
