"""`torchscript:FILE`: a model of the user's own, as TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench import DataError, Encoder, SuiteError
from fusionbench_slides.encoders.colours import ColourOptions, normalised

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class TorchScript(Encoder):
    """A TorchScript file that you have and trust, from (tile, 3, row, column) to (tile, feature)."""

    name = "torchscript"
    needs_file = True
    Options = ColourOptions
    options: ColourOptions

    def __init__(self, options: ColourOptions, weights: Path | None, device: torch.device) -> None:
        super().__init__(options, weights, device)
        assert weights is not None, "a class that needs a file is handed one"
        self.file, self.network = weights, _load(weights, device)

    def __call__(self, tiles: Tensor) -> Tensor:
        import torch

        try:
            features: object = self.network(normalised(tiles, self.device, self.options.normalise))
        except RuntimeError as error:
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise SuiteError(
                f"{self.file}: fails on tiles of {tiles.shape[1]} px ({last}); pass --tile with the size it was "
                "made for"
            ) from error
        if not isinstance(features, torch.Tensor) or features.ndim != 2:
            seen = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise SuiteError(f"{self.file}: gives {seen}; export a model that returns one tensor (tile, feature)")
        return features


def _load(path: Path, device: torch.device) -> torch.jit.ScriptModule:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # of torch.jit as a whole; users' files are what they are
            module: torch.jit.ScriptModule = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DataError(f"{path}: no TorchScript file ({reason}); write one with torch.jit.save") from error
    return module.eval()
