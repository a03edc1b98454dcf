"""Which cells are being computed this moment, from the marks of the run that holds the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fusionbench.core.errors import ResultsError
from fusionbench.results.attempts import Attempts
from fusionbench.results.run_lock import holder
from fusionbench.results.store import Store


@dataclass(frozen=True)
class Running:
    """What is going on in a suite's folder.

    Attributes:
        by: the process that computes the suite; empty where none does.
        cells: key of a cell that is being computed to who computes it since when.
        lost: key of a cell whose attempts gave no result to what is known of them.
        problem: why the marks cannot be read; empty where they can.
    """

    by: str = ""
    cells: Mapping[str, str] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def running_now(store: Store) -> Running:
    """Which cells are being computed, by whom, and which were lost, from the run lock and the attempts."""
    try:
        who = holder(store.folder)
        marks = Attempts(store.folder).all()
    except (ResultsError, OSError) as error:
        return Running(problem=str(error))
    cells, lost = {}, {}
    for key, tried in marks.items():
        ended = (
            f"{len(tried.ended)} attempts ended without a result, the last: {tried.ended[-1]}" if tried.ended else ""
        )
        if tried.running and who is not None:
            cells[key] = f"process {tried.running.pid} on {tried.running.host} since {tried.running.since}"
        elif tried.running:
            lost[key] = f"it was being computed when process {tried.running.pid} on {tried.running.host} ended"
        elif ended:
            lost[key] = ended
    return Running("" if who is None else str(who), cells, lost)
