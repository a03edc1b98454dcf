"""What is to be explained: the command line's flags as a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.errors import SuiteError
from fusionbench.suites.selection import Selection


@dataclass(frozen=True)
class Request:
    """One case, or the cases of highest predicted risk, and the row of a suite that predicted it.

    Attributes:
        suite: by name, or the path of its file.
        model: as the table writes it, options included.
        case: its id; or
        top_risk: how many cases, from the highest predicted risk down.
        dataset: needed where several datasets of the suite have the case.
        modalities: of the row; empty = the largest set that the model takes.
        variant: of the row; None = `base`, or the only one.
        slides: a folder of the slide images behind a bag with coordinates.
        draws: random orders that the order of attention is held against.
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

    @property
    def selection(self) -> Selection:
        """The part of the suite that it is about."""
        return Selection(models=(self.model,), datasets=(self.dataset,) if self.dataset else ())

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            SuiteError: naming the flag.
        """
        if (self.case is None) == (self.top_risk is None):
            raise SuiteError("explain: name one case with --case ID, or say --top-risk N")
        for flag, value, least in (
            ("top-risk", self.top_risk, 1),
            ("draws", self.draws, 1),
            ("repeat", self.repeat, 0),
        ):
            if value is not None and value < least:
                raise SuiteError(f"--{flag} {value}: must be at least {least}")
        if self.slides is not None and not self.slides.is_dir():
            raise SuiteError(f"--slides {self.slides}: no such folder; leave it out to draw on the grid of tiles")
