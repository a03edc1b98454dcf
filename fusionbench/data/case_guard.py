"""Which prepared bags may be read while a preparation runs: those of its training cases, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fusionbench.core.errors import PluginError
from fusionbench.core.types import Case, CaseSet


class CaseGuard:
    """Refuses every other case, and records what is read.

    A bag is known by its ref, not by its case's id: a validation case under the id of a training case is refused, too,
    and so is a modality that the training mask hides.

    Attributes:
        read: ids of the cases that were read.
        refused: the message about the first case that was refused; empty where none was.
    """

    def __init__(self, who: str, cases: CaseSet) -> None:
        self.who, self.count = who, len(cases)
        self._cases = cases  # keeps the refs alive, so that an id is of no other object
        self._refs = {(name, id(case.refs[name])) for case in cases.cases for name in cases.visible(case)}
        self.read: set[str] = set()
        self.refused = ""

    def check(self, modality: str, case: Case) -> None:
        """
        Raises:
            PluginError: the case is none of the training cases, or the modality is hidden from training.
        """
        if (modality, id(case.refs[modality])) in self._refs:
            self.read.add(case.id)
            return
        said = (
            f"{self.who} read {modality!r} of case {case.id!r}, which is none of the {self.count} training cases that "
            "it may read; prepare from the cases that `prepare` is given"
        )
        self.refused = self.refused or said
        raise PluginError(said)


# Of the process, not of a thread: what a preparation reads in threads of its own is seen as well. One cell is computed
# in a process at a time.
_guards: list[CaseGuard] = []


def reading(modality: str, case: Case) -> None:
    """Say that the bag of a case is about to be read.

    Raises:
        PluginError: a preparation runs that may not read it.
    """
    for guard in _guards:
        guard.check(modality, case)


@contextmanager
def only(who: str, cases: CaseSet) -> Iterator[CaseGuard]:
    """Bags of the visible modalities of these cases can be read inside, and no others.

    Raises:
        PluginError: another one was asked for inside, whatever became of that error there.
    """
    guard = CaseGuard(who, cases)
    _guards.append(guard)
    try:
        yield guard
    finally:
        _guards.remove(guard)
        if guard.refused:
            raise PluginError(guard.refused)
