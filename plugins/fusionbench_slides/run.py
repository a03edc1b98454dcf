"""What `fusionbench slides` does with its options; a notebook may call it, too."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from fusionbench import SuiteError
from fusionbench.nn import pick_device
from fusionbench_slides.embedding import Embedder, Precision, autocast_for
from fusionbench_slides.encoders.loading import EncoderChoice, load
from fusionbench_slides.feature_file import DTYPE
from fusionbench_slides.finding import find_slides
from fusionbench_slides.folder import Work, embed_folder
from fusionbench_slides.outcome import Outcome
from fusionbench_slides.progress import reporting
from fusionbench_slides.readers import Readers
from fusionbench_slides.tiling import Wanted


@dataclass(frozen=True)
class Request:
    """The options of the verb, in its order."""

    folder: Path
    out: Path
    wanted: Wanted
    encoder: str
    weights: Path | None = None
    batch_size: int = 64
    workers: int = 1
    threads: int | None = None
    device: str = "auto"
    precision: Precision = "auto"
    dtype: DTYPE = "float32"
    limit: int | None = None
    overwrite: bool = False


def run(request: Request) -> list[Outcome]:
    """Embed the folder; gives the slides that failed.

    Raises:
        SuiteError, PluginError, DataError: the request was wrong, or the encoder cannot be had. DiskFull: no room.
    """
    choice = EncoderChoice.parse(request.encoder, request.weights)
    device = pick_device(request.device)
    autocast = autocast_for(device, request.precision)
    found = find_slides(request.folder)
    try:
        for folder in ("qc", "logs"):
            (request.out / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SuiteError(f"{request.out}: cannot be written ({error.strerror}); pass another --out") from error
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    embedder = Embedder(load(choice, device), autocast, request.dtype)
    with Readers(request.workers, request.batch_size, request.wanted.tile) as readers, reporting() as report:
        work = Work(request.wanted, embedder, readers, request.out, request.limit, request.overwrite)
        outcomes = embed_folder(found, work, report)
    print(closing(outcomes, request.out))
    return [outcome for outcome in outcomes if outcome.failed]


def closing(outcomes: list[Outcome], out: Path) -> str:
    """The last line: what came of the folder."""
    done = [outcome for outcome in outcomes if outcome.tiles]
    tiles = sum(outcome.tiles or 0 for outcome in outcomes)
    failed = sum(outcome.failed for outcome in outcomes)
    slides = f"{len(done)} slide{'' if len(done) == 1 else 's'}"
    return f"{slides} with {tiles} tiles in {out}, {failed} failed; see {out / 'summary.csv'}"
