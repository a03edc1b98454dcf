"""What `fusionbench data fetch NAME --slides` does, for a dataset that is handed in."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.types import Source
from fusionbench.data import downloads as download
from fusionbench.data import slide_downloads as transfer
from fusionbench.data.cohort import dataset_label

LARGE = 10**9
"""Bytes above which a download wants to be confirmed."""
MARGIN = 10**9
"""Bytes that stay free on the disk."""


@dataclass(frozen=True)
class Outstanding:
    """The slides of a cohort that are not in the data home.

    Attributes:
        wanted: in the order of the manifest.
        present: how many are there already.
        size: bytes still to come.
        limit: how many of the manifest were looked at; None = all.
    """

    dataset: str
    home: Path
    wanted: tuple[Source, ...]
    present: int
    size: int
    limit: int | None = None

    @property
    def text(self) -> str:
        """Count and size in a line."""
        there = f", {self.present} are there" if self.present else ""
        return f"{len(self.wanted)} slides of {self.dataset} to download, {gigabytes(self.size)}{there}"


def outstanding(
    dataset: Dataset, *, limit: int | None = None, retries: int = 3, allow_loopback_http: bool = False
) -> Outstanding:
    """Read which slides there are and look which are missing; a manifest is downloaded for it.

    Args:
        limit: only the first ones of the manifest.
        retries, allow_loopback_http: see `download.fetch`.

    Raises:
        DataError: no slides are known, or the manifest cannot be had or read.
    """

    def fetch(source: Source) -> Path:
        path = download.place(dataset.home, source)
        if not source.url and not path.is_file():
            raise DataError(f"{path} is missing; {source.terms}")
        if download.state(dataset.home, source) in ("missing", "damaged"):
            return download.fetch(dataset.home, source, retries=retries, allow_loopback_http=allow_loopback_http)
        return path

    label, slides = dataset_label(dataset), tuple(dataset.slides(fetch))[:limit]
    if not slides:
        raise DataError(f"{label}: no slides to download are known for this dataset")
    sizes = {source: transfer.outstanding(dataset.home, source) for source in slides}
    wanted = tuple(s for s in slides if download.state(dataset.home, s, full=False) in ("missing", "damaged"))
    return Outstanding(label, dataset.home, wanted, len(slides) - len(wanted), sum(sizes[s] for s in wanted), limit)


def check(found: Outstanding, *, yes: bool, free: Callable[[Path], int] | None = None) -> None:
    """Refuse what nobody confirmed and what the disk cannot hold.

    Args:
        yes: the user has agreed to the size.
        free: bytes free where a folder lies.

    Raises:
        DataError: with count, sizes and what to do.
    """
    room = (free or _free)(found.home)
    if room < found.size + MARGIN:
        raise DataError(
            f"{found.text}: {found.home} has {gigabytes(room)} free, and {gigabytes(MARGIN)} must stay so; make room, "
            f"set {download.ENVIRONMENT} to a larger disk, or take some with --limit"
        )
    if found.size > LARGE and not yes:
        some = "" if found.limit is None else f" --limit {found.limit}"
        raise DataError(
            f"{found.text}; if that is what you want, run: "
            f"fusionbench data fetch {shlex.quote(found.dataset)} --slides{some} --yes"
        )


def _free(home: Path) -> int:
    """Bytes free where `home` is, or would be made."""
    return shutil.disk_usage(next(p for p in (home, *home.absolute().parents) if p.exists())).free


def gigabytes(size: int) -> str:
    """A size for people, in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
