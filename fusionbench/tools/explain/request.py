"""A request for explanations: the options of `fusionbench explain` as a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.errors import SuiteError
from fusionbench.suites.selection import Selection


@dataclass(frozen=True)
class Request:
    """One case, or the cases with the highest predicted risk or log odds, and the row of a suite that predicted them.

    Attributes:
        suite: name of the suite, or path of its file.
        model: as the results table names it, with its options.
        case: id of a test case; exactly one of `case` and `top_risk` is given.
        top_risk: number of cases, from the highest predicted risk or log odds down.
        dataset: needed where the row was run on several datasets that have the case.
        modalities: of the row; empty = the largest set that the model takes.
        variant: of the row; None = `base`, or the only one.
        repeat: of the row, from 0.
        slides: folder with the slide images behind a bag with coordinates.
        draws: random orders of items that the order of attention is compared with.
        class_name: of an endpoint with classes, the class whose log odds are explained; None = the last one.
    """

    suite: str
    model: str
    case: str | None = None
    top_risk: int | None = None
    dataset: str | None = None
    modalities: tuple[str, ...] = ()
    variant: str | None = None
    repeat: int = 0
    slides: Path | None = None
    draws: int = 10
    class_name: str | None = None

    @property
    def selection(self) -> Selection:
        """The cells of the suite that may answer the request."""
        return Selection(models=(self.model,), datasets=(self.dataset,) if self.dataset else ())

    def check(self) -> None:
        """Refuse values that contradict each other or lie out of range.

        Raises:
            SuiteError: names the option.
        """
        if (self.case is None) == (self.top_risk is None):
            raise SuiteError("explain: give either --case ID or --top-risk N")
        for flag, value, least in (
            ("top-risk", self.top_risk, 1),
            ("draws", self.draws, 1),
            ("repeat", self.repeat, 0),
        ):
            if value is not None and value < least:
                raise SuiteError(f"--{flag} {value}: must be at least {least}")
        if self.slides is not None and not self.slides.is_dir():
            raise SuiteError(f"--slides {self.slides}: no such folder; omit it to draw on the grid of tiles")
