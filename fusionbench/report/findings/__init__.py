"""What a suite's results say beyond its table: sections below it, each made from stored results alone.

A maker is a function from an `Analysis` and the run's lock to sections; one that has nothing to say yields none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fusionbench.report.analysis import Analysis
from fusionbench.report.document import Section
from fusionbench.report.findings.counts import counts
from fusionbench.report.findings.curves import curves
from fusionbench.report.findings.fusion import did_fusion_help
from fusionbench.report.findings.missing import missing_modalities
from fusionbench.report.findings.pooled import cohorts
from fusionbench.report.findings.reproduction import reproduction
from fusionbench.report.findings.variants import switches

Lock = Mapping[str, Any]
Maker = Callable[[Analysis, Lock], Iterable[Section]]

MAKERS: tuple[Maker, ...] = (cohorts, did_fusion_help, missing_modalities, switches, curves, counts, reproduction)

FOLDED = ("modalities", "variant")
"""Columns that are said once where they are the same in every line."""


def findings(analysis: Analysis, lock: Lock) -> list[Section]:
    """The sections of every maker, in order."""
    return [section.folded(*FOLDED) for make in MAKERS for section in make(analysis, lock)]
