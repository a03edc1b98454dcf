"""Tiles through the encoder: on which device, how precisely, and one slide from its tiles to its file."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from fusionbench import SuiteError
from fusionbench_slides.encoders.loading import LoadedEncoder
from fusionbench_slides.feature_file import DTYPE, FeatureFile, written
from fusionbench_slides.readers import Readers
from fusionbench_slides.reading import View
from fusionbench_slides.tiling import Tiling, Wanted

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["auto", "float32", "bf16", "fp16"]
_TYPES: dict[str, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, eq=False)
class Embedder:
    """An encoder, and how it is run and stored.

    Attributes:
        autocast: the type that CUDA computes in; None = as the encoder is.
    """

    loaded: LoadedEncoder
    autocast: torch.dtype | None
    dtype: DTYPE

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(tile, row, column, 3) to (tile, feature)."""
        with torch.inference_mode(), self._precision():
            features = self.loaded.encoder(torch.from_numpy(tiles).contiguous())
        if features.ndim != 2 or len(features) != len(tiles):
            raise SuiteError(f"encoder {self.loaded.ref}: gives {tuple(features.shape)} for {len(tiles)} tiles")
        out: NDArray[np.float32] = features.float().cpu().numpy()
        return out

    def _precision(self) -> AbstractContextManager[Any]:
        return nullcontext() if self.autocast is None else torch.autocast("cuda", dtype=self.autocast)

    def made_by(self, wanted: Wanted) -> dict[str, Any]:
        """What two files of one folder have to agree in, as attributes of a file.

        `slide_mpp` is a fact about one slide: asked for again, it has to be the same; left out later, it stays.
        """
        said = {} if wanted.slide_mpp is None else {"slide_mpp": wanted.slide_mpp}
        return {
            "encoder": self.loaded.ref,
            "encoder_version": self.loaded.version,
            "weights": self.loaded.weights,
            "weights_sha256": self.loaded.sha256,
            "tiling": str(wanted),
            "dtype": self.dtype,
            **said,
        }


def autocast_for(device: torch.device, precision: Precision) -> torch.dtype | None:
    """On CUDA bfloat16, or float16 where the card has none; elsewhere the encoder's own float32.

    Raises:
        SuiteError: half precision asked for on the CPU.
    """
    if device.type != "cuda":
        if precision in _TYPES:
            raise SuiteError(f"--precision {precision} is for CUDA; leave it out, or pass --device cuda")
        return None
    if precision == "auto":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return _TYPES.get(precision)


def embed(
    tiling: Tiling, embedder: Embedder, readers: Readers, path: Path, about: dict[str, Any], done: Callable[[int], None]
) -> None:
    """Read the tiles of a slide, embed them and write its file; there is no file of a slide without tiles.

    Args:
        about: attributes of the file, beside those of the tiling.
        done: gets the number of tiles of each batch.

    Raises:
        DataError, DiskFull: nothing stands under `path` then.
    """
    began = time.perf_counter()
    grid, facts = tiling.grid, tiling.facts
    view = View(facts.path, grid.scale.level, grid.read, grid.side, grid.tile, facts.background)
    with written(path, tiling.coords, embedder.dtype) as file:
        for tiles in readers.batches(view, tiling.coords):
            file.append(embedder(tiles))
            done(len(tiles))
        _describe(file, tiling, {**about, "seconds": time.perf_counter() - began})


def _describe(file: FeatureFile, tiling: Tiling, about: dict[str, Any]) -> None:
    grid, scale, facts = tiling.grid, tiling.grid.scale, tiling.facts
    of_file = {
        "slide": facts.path.name,
        "level": scale.level,
        "tile_size": grid.tile,
        "tile_size_level0": grid.step,
        "downsample": scale.downsample,
        "mpp": float("nan") if scale.mpp is None else scale.mpp,
        "tissue_share": tiling.tissue.share,
        "software": f"fusionbench {version('fusionbench')}",
        **about,
    }
    of_coords = {  # in the words of CLAM and TRIDENT
        "name": facts.path.stem,
        "patch_size": grid.tile,
        "patch_level": scale.level,
        "patch_size_level0": round(grid.step),
        "downsample": scale.level_downsample,
        "level0_width": facts.size[0],
        "level0_height": facts.size[1],
        "overlap": 0,
    }
    file.describe(of_file, of_coords)
