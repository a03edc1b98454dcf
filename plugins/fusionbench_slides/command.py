"""fusionbench slides DIR --out FEATURES"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fusionbench import SuiteError

app = typer.Typer(name="slides", pretty_exceptions_enable=False)


class Precision(StrEnum):
    auto = "auto"
    float32 = "float32"
    bf16 = "bf16"
    fp16 = "fp16"


class Dtype(StrEnum):
    float16 = "float16"
    float32 = "float32"


DEFAULT_MPP = 0.5
"""Micrometres per pixel: 20x, which CLAM, TRIDENT and most published encoders take."""


@app.command()
def slides(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of slides, or one slide.")],
    out: Annotated[Path, typer.Option("--out", help="Where features, pictures and summary.csv go.")],
    encoder: Annotated[
        str, typer.Option(help="NAME, NAME:FILE or NAME[option=value]:FILE; see `fusionbench ls encoders`.")
    ] = "resnet50",
    weights: Annotated[Path | None, typer.Option(help="A file of weights, in place of a download.")] = None,
    mpp: Annotated[float | None, typer.Option(help="Micrometres per pixel of a tile; 0.5 unless asked.")] = None,
    magnification: Annotated[float | None, typer.Option(help="In place of --mpp: 20 is 0.5, 40 is 0.25.")] = None,
    downsample: Annotated[float | None, typer.Option(help="In place of --mpp: pixels of level 0 per pixel.")] = None,
    slide_mpp: Annotated[
        float | None, typer.Option(help="Micrometres per pixel of level 0, for slides that do not say or say it wrong.")
    ] = None,
    tile: Annotated[int, typer.Option(min=1, help="Pixels a side of a tile.")] = 256,
    min_tissue: Annotated[float, typer.Option(min=0, max=1, help="Share of a tile that has to be tissue.")] = 0.5,
    batch_size: Annotated[int, typer.Option(min=1, help="Tiles that the encoder gets at once.")] = 64,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that read; one a core, at most 8.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the encoder on the CPU.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[Precision, typer.Option(help="On CUDA; auto is bf16, or fp16.")] = Precision.auto,
    dtype: Annotated[Dtype, typer.Option(help="Type of the features in the files.")] = Dtype.float32,
    limit: Annotated[int | None, typer.Option(min=1, help="Work on at most so many slides.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Also slides that are there already.")] = False,
) -> None:
    """Cut whole-slide images into tiles with tissue and embed them: one file of patch features a slide.

    Goes on where it stopped. Exit status: 0 all done, 1 some slides failed, 2 the request was wrong.
    """
    from fusionbench_slides.resolution import Kind, Resolution
    from fusionbench_slides.run import Request, run
    from fusionbench_slides.tiling import Wanted

    asked: dict[Kind, float | None] = {"mpp": mpp, "magnification": magnification, "downsample": downsample}
    chosen = [Resolution(kind, value) for kind, value in asked.items() if value is not None]
    if len(chosen) > 1:
        raise SuiteError(f"{' and '.join(map(str, chosen))}: pass one of them")
    for option, value in (*asked.items(), ("slide-mpp", slide_mpp)):
        if value is not None and not 0 < value < float("inf"):
            raise SuiteError(f"--{option} {value:g}: has to be above 0")
    wanted = Wanted(chosen[0] if chosen else Resolution("mpp", DEFAULT_MPP), tile, min_tissue, slide_mpp)
    request = Request(
        folder, out, wanted, encoder, weights, batch_size, workers or _workers(), threads, device, precision.value,
        dtype.value, limit, overwrite,
    )  # fmt: skip
    if run(request):
        raise typer.Exit(1)


def _workers() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 8)
