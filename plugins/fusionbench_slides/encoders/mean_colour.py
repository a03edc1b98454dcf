"""`mean-colour`: for trying things out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionbench import Encoder

if TYPE_CHECKING:
    from torch import Tensor


class MeanColour(Encoder):
    """Mean and standard deviation of red, green and blue, each in 0..1: six numbers, for trying things out."""

    name = "mean-colour"

    def __call__(self, tiles: Tensor) -> Tensor:
        import torch  # here, so that listing encoders does not load it

        colours = tiles.to(self.device).flatten(1, 2).float() / 255  # tile pixel channel
        return torch.cat([colours.mean(dim=1), colours.std(dim=1, correction=0)], dim=1)
