"""Colours as networks expect them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fusionbench import Options

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Normalise = Literal["imagenet", "half", "none"]
MEANS_AND_SDS: dict[Normalise, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # of ImageNet's training images, as torchvision's
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),  # to -1..1
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),  # 0..1 as they are
}


class ColourOptions(Options):
    """How a model of the user's own wants its colours.

    Attributes:
        normalise: "imagenet" = minus mean, by standard deviation of ImageNet; "half" = -1..1; "none" = 0..1.
    """

    normalise: Normalise = "imagenet"  # what most published encoders of pathology were trained with


def normalised(tiles: Tensor, device: torch.device, normalise: Normalise = "imagenet") -> Tensor:
    """(tile, row, column, 3) uint8 to (tile, 3, row, column) float32 on `device`: (colour / 255 - mean) / sd."""
    import torch  # here, so that listing encoders does not load it

    mean, sd = (torch.tensor(part, device=device).view(1, 3, 1, 1) for part in MEANS_AND_SDS[normalise])
    colours = tiles.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    return colours.div_(255).sub_(mean).div_(sd)
