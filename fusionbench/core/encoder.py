"""The abstract class of an encoder: tiles of a whole-slide image to features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fusionbench.core.checked import Checked
from fusionbench.core.options import Options
from fusionbench.core.types import Source

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_Options = Options  # the class below has an attribute of the same name


class Encoder(Checked, ABC):
    """Turns tiles of a whole-slide image into features.

    Attributes:
        version: bumped when features change; written into every feature file.
        weights: published weights, downloaded unless the user gives a file; None where there are none to download.
        needs_file: True where the user has to give a file of weights: `NAME:FILE`.
    """

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    Options: ClassVar[type[_Options]] = _Options
    weights: ClassVar[Source | None] = None
    needs_file: ClassVar[bool] = False

    def __init__(self, options: _Options, weights: Path | None, device: torch.device) -> None:
        """Load `weights`, a file where the class declares any and None otherwise, on to `device`.

        Raises:
            DataError: naming the file: it is damaged, or not of this network.
            PluginError: a package that it needs is not installed.
        """
        self.options, self.device = options, device

    @abstractmethod
    def __call__(self, tiles: Tensor) -> Tensor:
        """(tile, row, column, 3) uint8 RGB on the CPU, at least one tile, to (tile, feature) floats, finite.

        Called without gradients and, on CUDA, under autocast.

        Raises:
            SuiteError: tiles of a size that it does not take.
        """
