"""Which files of a suite's folder go into MLflow, on the one run of kind `suite` that its experiment has for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fusionbench.results.made_from import TABLE, is_current
from fusionbench.results.store import Store

TABLES = ("table.md", "table.csv", "table.tex", "folds.csv", "cells.csv")
PARTIAL = tuple(name.replace("table.", "table.partial.") for name in TABLES if name.startswith("table."))
WHOLE_TABLE, LOCK = "table.csv", "suite.lock.toml"
LATER = {"audit.json": "publish", "report.html": "report"}
"""Files that another verb makes, and which; the figures belong to the report."""
REPORT, FIGURES = "report.html", "figures/*.png"
SHOWN_AS = {REPORT: "reports/index.html"}
"""Files that have another name in MLflow, whose page shows them."""


@dataclass(frozen=True)
class SuiteFiles:
    """What is there to be logged.

    Attributes:
        files: name in MLflow to the file.
        outdated: files made of other cells than are stored now, and left out for that; to the verb that makes them
            again.
    """

    files: Mapping[str, Path]
    outdated: Mapping[str, str]

    @property
    def digest(self) -> str:
        """Equal for equal names and contents."""
        found = hashlib.sha256()
        for name, path in sorted(self.files.items()):
            found.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return found.hexdigest()


def suite_files(store: Store) -> SuiteFiles:
    """Table, lock, audit, report and figures as PNG: those that were made of the cells that are stored now.

    Of a suite that is not complete the partial table, where there is no whole one. A table of which it is not recorded
    what it was made of is taken as it is: an older fusionbench wrote it.

    Raises:
        ResultsError: the record of what they were made of cannot be read.
    """
    folder = store.folder
    whole = (folder / WHOLE_TABLE).is_file()
    outdated = {WHOLE_TABLE: "run"} if whole and is_current(store, TABLE) is False else {}
    tables = () if outdated else TABLES if whole else PARTIAL
    later = {name: folder / name for name in LATER if (folder / name).is_file()}
    current = {name: path for name, path in later.items() if is_current(store, name)}
    outdated |= {name: verb for name, verb in LATER.items() if name in later.keys() - current.keys()}
    files = {name: folder / name for name in (*tables, LOCK) if (folder / name).is_file()}
    files |= {SHOWN_AS.get(name, name): path for name, path in current.items()}
    if REPORT in current:
        files |= {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob(FIGURES))}
    return SuiteFiles(files, outdated)
