"""Checks of an encoder, tried on the CPU."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from fusionbench.core.encoder import Encoder
from fusionbench.core.registry import Registry
from fusionbench.data.downloads import data_home, file_state, local_path
from fusionbench.testing.conformance.check import Check, Checklist, Failure, Promise, Skipped, checks_of
from fusionbench.testing.conformance.declarations import declarations

TILES, SIDE = 5, 256
TOLERANCE = 1e-5
"""Between features of one tile alone and among others, relative to the largest feature where that is above 1."""


class EncoderSubject:
    """A registered encoder with its default options and weights: its own `example(folder)`, or the published ones."""

    def __init__(self, name: str, registry: Registry) -> None:
        self.cls: type[Encoder] = registry.get("encoders", name)

    def made(self) -> Encoder:
        """A new encoder with example weights, or those that are in the data home."""
        device = torch.device("cpu")
        options = self.cls.Options()
        if hasattr(self.cls, "example"):
            with tempfile.TemporaryDirectory() as folder:
                return self.cls(options, self.cls.example(Path(folder)), device)
        if self.cls.weights is not None and file_state(data_home(), self.cls.weights) == "present":
            return self.cls(options, local_path(data_home(), self.cls.weights), device)
        if self.cls.needs_file or self.cls.weights is not None:
            raise Skipped("its weights are not here; give it a classmethod `example(folder)` that writes some")
        return self.cls(options, None, device)

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder that most checks share."""
        return self.made()

    @cached_property
    def tiles(self) -> Tensor:
        """(tile, row, column, 3) uint8: noise around another colour each."""
        generator = torch.Generator().manual_seed(0)
        noise = torch.randint(0, 56, (TILES, SIDE, SIDE, 3), generator=generator)
        return (noise + 40 * torch.arange(TILES)[:, None, None, None]).to(torch.uint8)

    def features(self, tiles: Tensor, encoder: Encoder | None = None) -> Tensor:
        """Features of tiles, without gradients."""
        with torch.inference_mode():
            return (encoder or self.encoder)(tiles)

    @cached_property
    def seen(self) -> Tensor:
        """Features of the tiles that most checks share."""
        return self.features(self.tiles.clone())


CHECKS: Checklist[EncoderSubject] = Checklist()
READS = ("features",)


@CHECKS.add(
    "features",
    "Five tiles give (tile, feature) floats, all of them finite.",
    cause="a feature map that is not pooled, a classifier that is left on, or colours that are not scaled.",
)
def features(subject: EncoderSubject) -> None:
    seen = subject.seen
    if seen.ndim != 2 or len(seen) != TILES or not seen.shape[1] or not seen.is_floating_point():
        raise Failure(f"{seen.dtype} of shape {tuple(seen.shape)} for {TILES} tiles")
    if not seen.isfinite().all():
        raise Failure(f"{int((~seen.isfinite()).sum())} features are NaN or infinite")


@CHECKS.add(
    "batch-invariant",
    "A tile has the same features alone and among others.",
    cause="batch normalisation in training mode, or tiles that are scaled by the brightest of their batch.",
    needs=READS,
)
def batch_invariant(subject: EncoderSubject) -> None:
    alone = torch.cat([subject.features(tile[None].clone()) for tile in subject.tiles])
    apart = float((alone - subject.seen).abs().max())
    if apart > TOLERANCE * max(1.0, float(subject.seen.abs().max())):
        raise Failure(f"features of a tile alone and among {TILES} differ by up to {apart:.2g}")


@CHECKS.add(
    "tells-tiles-apart",
    "Tiles of different colours have different features.",
    cause="8-bit colours that overflow, or each tile scaled to the same mean.",
    needs=READS,
)
def tells_tiles_apart(subject: EncoderSubject) -> None:
    if float((subject.seen[1:] - subject.seen[:-1]).abs().amax(dim=1).min()) == 0:
        raise Failure("two tiles of different colours have equal features")


@CHECKS.add(
    "repeatable",
    "Called twice, and constructed again, it gives the same features.",
    cause="dropout or another random layer that is left in training mode, or weights drawn anew.",
    needs=READS,
)
def repeatable(subject: EncoderSubject) -> None:
    for other, what in ((subject.encoder, "asked twice"), (_anew(subject), "made anew")):
        apart = float((subject.features(subject.tiles.clone(), other) - subject.seen).abs().max())
        if apart > TOLERANCE * max(1.0, float(subject.seen.abs().max())):
            raise Failure(f"{what}, features differ by up to {apart:.2g}")


def _anew(subject: EncoderSubject) -> Encoder:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return subject.made()


@CHECKS.add(
    "inputs-not-changed",
    "The tiles are not changed.",
    cause="an operation in place on the batch that was handed over.",
    needs=READS,
)
def inputs_not_changed(subject: EncoderSubject) -> None:
    tiles = subject.tiles.clone()
    subject.features(tiles)
    if not torch.equal(tiles, subject.tiles):
        raise Failure("the tiles that were handed over have other values now")


PROMISES: tuple[Promise[EncoderSubject], ...] = (
    *declarations(lambda subject: subject.cls),
    *CHECKS.promises,
)


def checks(name: str, registry: Registry) -> list[Check]:
    """The checks of one encoder."""
    return checks_of("encoder", name, lambda: EncoderSubject(name, registry), PROMISES)
