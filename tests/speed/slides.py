"""How fast the read side of `fusionbench slides` is, as a share of a bare loop of `read_region` over the same tiles.

`python -m tests.speed.slides [SLIDE] [--downsample 1] [--workers 2] [--runs 7]`; without a slide it makes a pyramid of
40,000 x 40,000 pixels. Both sides take turns in the same number of warm processes, over the same tiles in the same
chunks; the first turn of each opens the slide and is not counted. Prints the medians and their ratio: 1 is as fast as
the bare loop.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import openslide
from fusionbench_slides.readers import Readers
from fusionbench_slides.reading import View
from fusionbench_slides.resolution import Resolution
from fusionbench_slides.tiling import Wanted, tiling_of
from numpy.typing import NDArray

from tests.unit.slide_files import write_pyramid

BATCH = 64
_open: dict[Path, openslide.OpenSlide] = {}


def bare(view: View, coords: NDArray[np.int64]) -> int:
    """What has to be done at least: read every tile."""
    if view.path not in _open:
        _open[view.path] = openslide.OpenSlide(view.path)
    slide = _open[view.path]
    for x, y in coords.tolist():
        slide.read_region((x, y), view.level, (view.read, view.read))
    return len(coords)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slide", type=Path, nargs="?")
    parser.add_argument("--downsample", type=float, default=1.0)
    parser.add_argument("--tile", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--tiles", type=int, default=2000, help="at most so many")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        slide = args.slide or write_pyramid(
            Path(folder) / "made.tiff", (40_000, 40_000), [(4096, 4096, 20480, 20480)], downsamples=(1, 4, 16)
        )
        compare(slide, args)


def compare(path: Path, args: argparse.Namespace) -> None:
    tiling = tiling_of(path, Wanted(Resolution("downsample", args.downsample), args.tile), lambda text: None)
    grid, coords = tiling.grid, tiling.coords[: args.tiles]
    view = View(path, grid.scale.level, grid.read, grid.side, grid.tile, tiling.facts.background)
    size = max(1, min(BATCH, -(-len(coords) // args.workers)))
    chunks = [coords[start : start + size] for start in range(0, len(coords), size)]
    context = multiprocessing.get_context("spawn")
    with Readers(args.workers, BATCH, args.tile) as readers, ProcessPoolExecutor(args.workers, context) as pool:
        ways: dict[str, Callable[[], int]] = {
            "bare": lambda: sum(pool.map(bare, [view] * len(chunks), chunks)),
            "ours": lambda: sum(len(tiles) for tiles in readers.batches(view, coords)),
        }
        seconds = timed(ways, args.runs, len(coords))
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name}: {len(coords) / median:.0f} tiles/s (median of {args.runs} runs, {args.workers} processes)")
    print(f"ratio: {medians['bare'] / medians['ours']:.3f} of the bare loop on {len(coords)} tiles of {path.name}")


def timed(ways: dict[str, Callable[[], int]], runs: int, expected: int) -> dict[str, list[float]]:
    """Seconds of each way, turn and turn about."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            assert way() == expected
            seconds[name].append(time.perf_counter() - began)
    return {name: times[1:] for name, times in seconds.items()}


if __name__ == "__main__":
    main()
