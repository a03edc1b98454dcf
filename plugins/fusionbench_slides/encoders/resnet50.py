"""`resnet50` and `resnet50-trunc`: ImageNet features with published weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fusionbench import DataError, Encoder, Options, Source
from fusionbench_slides.encoders.colours import normalised

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from fusionbench_slides.encoders.resnet import ResNet

UNREADABLE = (
    *(OSError, RuntimeError, EOFError, TypeError, ValueError, LookupError, AttributeError, pickle.UnpicklingError),
)
"""What torch raises for a file that holds no weights, or those of another network."""
TERMS = "BSD-3-Clause (torchvision); learnt from ImageNet, whose terms are for research"


def published(file: str) -> Source:
    """A file of torchvision's weights; its name ends in the first digits of its sha256."""
    digits = file.removesuffix(".pth").rpartition("-")[2]
    return Source(f"weights/{file}", f"https://download.pytorch.org/models/{file}", digits, TERMS)


class ResNet50(Encoder):
    """ResNet-50 of ImageNet (weights v2) before its classifier: 2048 numbers."""

    name = "resnet50"
    weights = published("resnet50-11ad3fa6.pth")
    blocks: ClassVar[int] = 4

    def __init__(self, options: Options, weights: Path | None, device: torch.device) -> None:
        super().__init__(options, weights, device)
        assert weights is not None, "a class that declares weights is handed a file"
        self.network = load(weights).to(device).eval()

    def __call__(self, tiles: Tensor) -> Tensor:
        return self.network.features(normalised(tiles, self.device), self.blocks)

    @classmethod
    def example(cls, folder: Path) -> Path:
        """A file of random weights, for the check."""
        import torch

        from fusionbench_slides.encoders.resnet import ResNet

        with torch.random.fork_rng():
            torch.manual_seed(0)
            torch.save(ResNet().state_dict(), folder / "random.pth")
        return folder / "random.pth"


class ResNet50Trunc(ResNet50):
    """ResNet-50 of ImageNet (weights v1) after its third block, as CLAM: 1024 numbers."""

    name = "resnet50-trunc"
    weights = published("resnet50-19c8e357.pth")
    blocks = 3


def load(path: Path) -> ResNet:
    """ResNet-50 with the weights of a file, every name and shape of which has to fit.

    Raises:
        DataError: the file cannot be read, holds pickled code, or is of another network.
    """
    import torch

    from fusionbench_slides.encoders.resnet import ResNet

    network = ResNet()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state, strict=True)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(
            f"{path}: no weights of ResNet-50 ({reason}); give the file that torchvision publishes, or leave it out"
        ) from error
    return network
