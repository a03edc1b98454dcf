"""`onnx:FILE`: a model of the user's own, as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusionbench import DataError, Encoder, PluginError, SuiteError
from fusionbench_slides.encoders.colours import ColourOptions, normalised

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Onnx(Encoder):
    """An ONNX file, from (tile, 3, row, column) to (tile, feature); needs onnxruntime."""

    name = "onnx"
    needs_file = True
    Options = ColourOptions
    options: ColourOptions

    def __init__(self, options: ColourOptions, weights: Path | None, device: torch.device) -> None:
        super().__init__(options, weights, device)
        assert weights is not None, "a class that needs a file is handed one"
        self.file, self.session = weights, _session(weights, device)
        self.input = self.session.get_inputs()[0]

    def __call__(self, tiles: Tensor) -> Tensor:
        import torch

        colours = normalised(tiles, torch.device("cpu"), self.options.normalise)
        parts = torch.split(colours, self._batch(len(colours)))
        features = torch.cat([torch.from_numpy(self._run(part)) for part in parts])
        if features.ndim != 2:
            raise SuiteError(f"{self.file}: gives {tuple(features.shape)}; export a model that returns (tile, feature)")
        return features

    def _batch(self, tiles: int) -> int:
        """As many as come; one at a time for a model that was exported for one."""
        fixed = self.input.shape[0] if self.input.shape else None
        if isinstance(fixed, int) and fixed not in (1, tiles):
            raise SuiteError(f"{self.file}: takes exactly {fixed} tiles; export it with a batch axis of any length")
        return fixed if isinstance(fixed, int) else tiles

    def _run(self, colours: Tensor) -> Any:
        try:
            return self.session.run(None, {self.input.name: colours.contiguous().numpy()})[0]
        except Exception as error:  # its errors share no base class but this one
            raise SuiteError(
                f"{self.file}: fails on tiles of {colours.shape[2]} px ({_line(error)}); pass --tile with the size it "
                "was made for"
            ) from error


def _session(path: Path, device: torch.device) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise PluginError(
            "encoder 'onnx' needs onnxruntime; run: python -m pip install 'fusionbench[onnx]' "
            "(onnxruntime-gpu in its place for CUDA)"
        ) from error
    known = onnxruntime.get_available_providers()
    if device.type == "cuda" and "CUDAExecutionProvider" not in known:
        raise SuiteError("--device cuda: this onnxruntime knows no CUDA; install onnxruntime-gpu, or pass --device cpu")
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # it prints errors beside raising them
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[*wanted, "CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class but this one
        raise DataError(f"{path}: no ONNX model that onnxruntime can load ({_line(error)}); export it again") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
