"""From the option `image` to the image modalities of a cohort."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fusionbench_tcga import images, maps, patches, pictures
from fusionbench_tcga.images import ImageSet

if TYPE_CHECKING:
    from fusionbench_tcga.files import Reader
    from fusionbench_tcga.options import TcgaOptions


def read_images(name: str, options: TcgaOptions, reader: Reader, patients: frozenset[str]) -> Mapping[str, ImageSet]:
    """The image modalities, cut down to the cohort's patients; the checksum of files goes to the reader's others.

    Args:
        name: the dataset.
        options: checked ones.

    Raises:
        DataError: see the readers of each kind of set.
    """
    found = _read(name, options, reader, patients)
    return {modality: images.of_cohort(of, patients, f"image={options.image}") for modality, of in found.items()}


def _read(name: str, options: TcgaOptions, reader: Reader, patients: frozenset[str]) -> Mapping[str, ImageSet]:
    kind, _, path = options.image.partition(":")
    if kind == "none":
        return {}
    if kind == "roi":
        return {"image": images.read_roi(reader, options.boe)}
    if kind in images.DERIVED:
        return {"image": {"xception": images.read_xception, "hif": images.read_hif}[kind](reader)}
    if kind == "maps":
        cohort = name.removeprefix("tcga-")
        found, reader.checksums["image=maps"] = maps.read_maps(
            cohort,
            Path(path).expanduser() if path else reader.home / maps.MAPS[cohort].path,
            patients,
            window=options.window,
            channels=options.channels,
            layout=options.layout,
            downsample=options.downsample,
        )
        return found
    place = Path(path).expanduser() if path else reader.home / patches.FOLDER / name
    if kind == "grid":
        one, checksum = pictures.read_folder(place, patients, axes=options.axes, downsample=options.downsample)
    else:
        one, checksum = patches.read_folder(place, patients)
    reader.checksums[f"image={kind}"] = checksum
    return {"image": one}
