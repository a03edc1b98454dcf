"""Which files of a suite's folder go into MLflow, on the one run of kind `suite` that its experiment has for them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TABLES = ("table.md", "table.csv", "table.tex", "folds.csv", "cells.csv")
PARTIAL = tuple(name.replace("table.", "table.partial.") for name in TABLES if name.startswith("table."))
LOCK = "suite.lock.toml"
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
        outdated: files that are older than the newest cell, and left out for that; to the verb that makes them again.
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


def suite_files(folder: Path) -> SuiteFiles:
    """Table, lock, and, where they have been made since the last cell was, audit, report and figures as PNG.

    Of a suite that is not complete the partial table, where there is no whole one.
    """
    tables = TABLES if (folder / "table.csv").is_file() else PARTIAL
    files = {name: folder / name for name in (*tables, LOCK) if (folder / name).is_file()}
    newest = max((cell.stat().st_mtime for cell in folder.glob("cells/*/cell.json")), default=0.0)
    later = {name: folder / name for name in LATER if (folder / name).is_file()}
    outdated = {name: LATER[name] for name, path in later.items() if path.stat().st_mtime < newest}
    current = {name: path for name, path in later.items() if name not in outdated}
    files |= {SHOWN_AS.get(name, name): path for name, path in current.items()}
    if REPORT in current:
        files |= {path.relative_to(folder).as_posix(): path for path in sorted(folder.glob(FIGURES))}
    return SuiteFiles(files, outdated)
