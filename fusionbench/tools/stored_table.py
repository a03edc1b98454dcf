"""The comparison table that a suite's last run wrote, with the verdicts and the title that belong to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fusionbench.core.commands import command
from fusionbench.core.errors import ResultsError
from fusionbench.core.registry import Registry
from fusionbench.report.build import EXTERNAL
from fusionbench.report.findings.summary import CohortSummary, stored_summary
from fusionbench.suites.lock import read_lock
from fusionbench.tools.find_suite import find_suite


@dataclass(frozen=True)
class StoredTable:
    """The files of a suite's table.

    Attributes:
        folder: of the suite's results, run here or published.
        stem: of the files: `table`, or `table.partial` where cells are missing.
    """

    folder: Path
    stem: str
    registry: Registry

    @classmethod
    def of(cls, suite: str, out: Path, registry: Registry) -> StoredTable:
        """The table of a suite under a results root.

        Raises:
            SuiteError: unknown suite. ResultsError: no table yet; says which command makes one.
        """
        found = find_suite(suite, out, registry)
        for stem in ("table", "table.partial"):
            if (found.store.folder / f"{stem}.csv").exists():
                return cls(found.store.folder, stem, registry)
        make = command(out, "run", found.called)
        raise ResultsError(f"no table of {found.name!r} under {out}; make it with: {make}")

    def file(self, suffix: str) -> Path:
        """Its file in one format: md, csv, tex or html."""
        return self.folder / f"{self.stem}.{suffix}"

    def rows(self) -> pd.DataFrame:
        """TABLE_COLUMNS, in the order of the suite."""
        return pd.read_csv(self.file("csv"))

    def external(self) -> pd.DataFrame | None:
        """EXTERNAL_COLUMNS of table.external.csv; None where the suite has no external cohort."""
        path = self.file(EXTERNAL)
        return pd.read_csv(path, keep_default_na=False, na_values=[""]) if path.exists() else None

    def directions(self) -> Mapping[str, bool | None]:
        """Metric to higher_is_better, in the table's order; None also for a metric that is not installed here."""
        installed = self.registry.names("metrics")
        return {
            name: self.registry.metric(name).higher_is_better if name in installed else None
            for name in dict.fromkeys(self.rows()["metric"])
        }

    def cohorts(self) -> Sequence[CohortSummary]:
        """Each cohort in a few facts with the verdicts on it; empty where an older version wrote the table."""
        return stored_summary(self.folder)

    def title(self) -> str:
        """The suite's title; where it has none, its name.

        Raises:
            ResultsError: no lock, or one that cannot be read.
        """
        suite = read_lock(self.folder)["suite"]
        return str(suite["title"] or suite["name"])
