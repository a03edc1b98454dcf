"""Whole-slide images to patch features: the verb `slides`, and encoders."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fusionbench import hookimpl

if TYPE_CHECKING:
    import typer

    from fusionbench import Encoder


@hookimpl
def fusionbench_commands() -> Iterable[typer.Typer]:
    from fusionbench_slides.command import app

    return [app]


@hookimpl
def fusionbench_encoders() -> Iterable[type[Encoder]]:
    from fusionbench_slides.encoders.mean_colour import MeanColour
    from fusionbench_slides.encoders.onnx import Onnx
    from fusionbench_slides.encoders.resnet50 import ResNet50, ResNet50Trunc
    from fusionbench_slides.encoders.torchscript import TorchScript

    return [ResNet50, ResNet50Trunc, TorchScript, Onnx, MeanColour]
