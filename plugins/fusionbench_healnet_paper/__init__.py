"""What the HEALNet paper (Hemker et al. 2024) reports, beside what a suite's results say.

Sections on suites whose variants change the training, and on suites that name published counts, numbers or claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fusionbench import hookimpl

if TYPE_CHECKING:
    from fusionbench.report.api import Analysis, Section


@hookimpl
def fusionbench_findings() -> Iterable[Callable[[Analysis, Mapping[str, Any]], Iterable[Section]]]:
    """The functions that write the sections."""
    return [training_curves, published_counts, published_numbers]


def training_curves(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """How the variants of a suite train: agreement of loss and c-index, overfitting, mean curves."""
    from fusionbench_healnet_paper.curves import curves

    yield from curves(analysis, lock)


def published_counts(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Sizes of the cohorts beside the published ones."""
    from fusionbench_healnet_paper.counts import counts

    yield from counts(analysis, lock)


def published_numbers(analysis: Analysis, lock: Mapping[str, Any]) -> Iterator[Section]:
    """Published numbers beside those of the run, verdicts on published claims, and what was done otherwise."""
    from fusionbench_healnet_paper.reproduction import reproduction

    yield from reproduction(analysis, lock)
