"""ResNet-50 with the parameter names of torchvision, so that its published weights load by name.

Source: He et al. 2016, with the stride in the 3 x 3 convolution of a block, as the published weights have it (v1.5).
"""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS, DEPTHS, STRIDES = (64, 128, 256, 512), (3, 4, 6, 3), (1, 2, 2, 2)
EXPANSION = 4
CLASSES = 1000


class Bottleneck(nn.Module):
    """1 x 1 to `width` channels, 3 x 3, 1 x 1 to four times as many, added to the input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        out: Tensor = self.relu(y + shortcut)
        return out


class ResNet(nn.Module):
    """(tile, 3, row, column) to (tile, class); `features` stops after a block and averages over the tile."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for number, (width, depth, stride) in enumerate(zip(WIDTHS, DEPTHS, STRIDES, strict=True), 1):
            self.add_module(f"layer{number}", _block(channels, width, depth, stride))
            channels = width * EXPANSION
        self.fc = nn.Linear(channels, CLASSES)

    def features(self, x: Tensor, blocks: int = 4) -> Tensor:
        """(tile, 3, row, column) to (tile, feature), the mean over the map after `blocks` blocks: 1024 or 2048 wide."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, blocks + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x.mean(dim=(2, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.features(x))
        return logits


def _block(channels: int, width: int, depth: int, stride: int) -> nn.Sequential:
    first = Bottleneck(channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(width * EXPANSION, width, 1) for _ in range(depth - 1)))
