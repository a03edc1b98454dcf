"""Download of a cohort's whole-slide images: several at a time, each resumed where its connection broke.

A slide appears under its final name only after its md5 has been compared. What has been received so far lies beside it
under `.part`, and a later call goes on from there. The failure of one slide does not stop the others.
"""

from __future__ import annotations

import shlex
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.types import Source
from fusionbench.data import downloads
from fusionbench.data.cohort import dataset_label

if TYPE_CHECKING:
    from requests import Response, Session

CONFIRM_BYTES = 10**9
"""Larger downloads need `--yes`."""
SPARE_BYTES = 10**9
"""Bytes that must stay free on the disk."""
CHUNK = 1 << 16
"""Bytes written at a time; at most so many are lost where a connection breaks."""
PROGRESS_BYTES = 1 << 20
"""An attempt that received so many bytes does not count against the retries."""
STALL_SECONDS = 60.0
"""Seconds without a byte after which a connection is given up and the rest is requested anew."""
MAX_RETRY_AFTER = 600
"""Longest wait in seconds that a server may ask for (Retry-After)."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class MissingSlides:
    """The slides of a cohort that are not in the data home yet.

    Attributes:
        slides: in the order of the manifest.
        present: number of slides that are there already.
        size: bytes still to receive.
        limit: number of slides of the manifest that were considered; None = all.
    """

    dataset: str
    home: Path
    slides: tuple[Source, ...]
    present: int
    size: int
    limit: int | None = None

    @property
    def summary(self) -> str:
        """Number and size in one line."""
        present = f", {self.present} are there" if self.present else ""
        return f"{len(self.slides)} slides of {self.dataset} to download, {format_bytes(self.size)}{present}"


class DownloadProgress(Protocol):
    """Progress callbacks; several threads call them, one call at a time."""

    def received(self, size: int) -> None:
        """`size` more bytes; negative where received bytes are discarded."""

    def finished(self, source: Source, reason: str | None) -> None:
        """A slide is complete (`reason` is None), or has failed for a reason."""


class TransferError(Exception):
    """A failed attempt that may succeed when it is repeated."""


def missing_slides(
    dataset: Dataset, *, limit: int | None = None, retries: int = 3, allow_loopback_http: bool = False
) -> MissingSlides:
    """The slides of a cohort that the data home lacks; downloads the manifest of the slides where it lacks that.

    Args:
        limit: consider only the first slides of the manifest.
        retries, allow_loopback_http: see `downloads.fetch`.

    Raises:
        DataError: no slides are known, or the manifest cannot be downloaded or read.
    """

    def manifest(source: Source) -> Path:
        path = downloads.local_path(dataset.home, source)
        if not source.url and not path.is_file():
            raise DataError(f"{path} is missing; {source.terms}")
        if downloads.file_state(dataset.home, source) in ("missing", "damaged"):
            return downloads.fetch(dataset.home, source, retries=retries, allow_loopback_http=allow_loopback_http)
        return path

    label, slides = dataset_label(dataset), tuple(dataset.slides(manifest))[:limit]
    if not slides:
        raise DataError(f"{label}: no slides to download are known for this dataset")
    # Sizes only: checksums of hundreds of GB would take hours, and each was compared before its slide got its name.
    missing = tuple(s for s in slides if downloads.file_state(dataset.home, s, full=False) in ("missing", "damaged"))
    size = sum(missing_bytes(dataset.home, slide) for slide in missing)
    return MissingSlides(label, dataset.home, missing, len(slides) - len(missing), size, limit)


def missing_bytes(home: Path, source: Source) -> int:
    """Bytes of a file still to receive; 0 where it is complete."""
    if downloads.file_state(home, source, full=False) == "present":
        return 0
    return source.size - min(_size(_part(downloads.local_path(home, source))), source.size)


def check_download(missing: MissingSlides, *, yes: bool) -> None:
    """Refuse a large download that was not confirmed, and one that the disk cannot hold.

    Args:
        yes: the user has agreed to the size.

    Raises:
        DataError: with number, sizes and what to do.
    """
    free = free_bytes(missing.home)
    if free < missing.size + SPARE_BYTES:
        raise DataError(
            f"{missing.summary}: {missing.home} has {format_bytes(free)} free, and {format_bytes(SPARE_BYTES)} must "
            f"stay so; make room, set {downloads.ENVIRONMENT} to a larger disk, or take some with --limit"
        )
    if missing.size > CONFIRM_BYTES and not yes:
        limit = "" if missing.limit is None else f" --limit {missing.limit}"
        raise DataError(
            f"{missing.summary}; if that is what you want, run: "
            f"fusionbench data fetch {shlex.quote(missing.dataset)} --slides{limit} --yes"
        )


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    return shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.exists())).free


def format_bytes(size: int) -> str:
    """A size as text, in GB or MB."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def download_slides(
    home: Path,
    sources: Sequence[Source],
    progress: DownloadProgress,
    *,
    connections: int = 4,
    retries: int = 5,
    stall: float = STALL_SECONDS,
    backoff: float = 1.0,
    allow_loopback_http: bool = False,
) -> dict[str, str]:
    """Download files with known size and md5 into the data home; a file that fails does not stop the others.

    Args:
        connections: number of files at a time.
        retries: further attempts without a MiB of progress, and as many at answers of a busy server.
        stall: seconds without a byte after which an attempt is broken off.
        backoff: seconds before the second attempt at a busy server; doubles with each, unless the server says how long.
        allow_loopback_http: see `downloads.fetch`.

    Returns:
        Path of each file that failed to the reason, in the order of `sources`.
    """
    downloader = _Downloader(home, progress, retries, stall, backoff, allow_loopback_http)
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=connections) as pool:
        futures = {pool.submit(downloader.download, source): source for source in sources}
        try:
            for future in as_completed(futures):
                if (reason := future.result()) is not None:
                    failed[futures[future].path] = reason
        except BaseException:  # an interruption by the user: the threads would go on for hours
            downloader.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {source.path: failed[source.path] for source in sources if source.path in failed}


@dataclass(frozen=True)
class _Downloader:
    """What the downloads of one call share; see `download_slides`. `stop` is set where the user interrupts."""

    home: Path
    progress: DownloadProgress
    retries: int
    stall: float
    backoff: float
    allow_loopback_http: bool
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def download(self, source: Source) -> str | None:
        """Download one file; returns why it failed, None where it is complete."""
        from requests import RequestException

        try:
            self._download(source)
            reason = None
        except (DataError, TransferError, RequestException) as error:
            reason = downloads.one_line(error)
        except OSError as error:
            reason = f"cannot be written: {downloads.one_line(error)}"
        with self.lock:
            self.progress.finished(source, reason)
        return reason

    def _download(self, source: Source) -> None:
        downloads.check_address(source.url, self.allow_loopback_http)
        path = downloads.local_path(self.home, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        part, left = _part(path), self.retries
        with self._session() as http:
            while True:
                before = _size(part)
                try:
                    self._resume(http, source, part)
                    break
                except TransferError:
                    left = self.retries if _size(part) >= before + PROGRESS_BYTES else left - 1
                    if left < 0 or self.stop.wait(self.backoff * 2 ** (self.retries - left)):
                        raise
        part.replace(path)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A session for one thread (requests does not promise thread safety) that waits as a busy server asks."""
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        retry = Retry(
            total=self.retries,
            status_forcelist=_BUSY,
            backoff_factor=self.backoff,
            retry_after_max=MAX_RETRY_AFTER,
            raise_on_status=False,
        )
        with requests.Session() as session:
            session.mount("https://", HTTPAdapter(max_retries=retry))
            session.mount("http://", HTTPAdapter(max_retries=retry))
            session.hooks["response"].append(self._check)
            yield session

    def _check(self, response: Response, **_: Any) -> None:
        if response.status_code in _BUSY:
            raise DataError(
                f"{response.url} answered {response.status_code} {response.reason} {self.retries + 1} times"
            )
        if response.status_code != 416:  # a range that does not exist: `_resume` discards the part and starts anew
            downloads.check_response(response, self.allow_loopback_http)

    def _resume(self, http: Session, source: Source, part: Path) -> None:
        """Request the missing bytes of a file; the file is complete and its md5 compared when this returns."""
        start = _size(part)
        if start > source.size:
            self._discard(part)
            start = 0
        if start < source.size:
            # "identity": a compressed answer would have other bytes at the same range.
            headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
            with http.get(source.url, headers=headers, stream=True, timeout=self.stall) as response:
                if start and _first_byte(response) != start:
                    self._discard(part)
                    if response.status_code != 200:
                        raise TransferError(f"{source.url} answered {response.status_code} to a request for a part")
                self._receive(response, source, part)
        actual = downloads.md5_of(part)
        if actual != source.md5:
            self._discard(part)
            raise TransferError(f"{source.url}: expected md5 {source.md5}, received {actual}")

    def _receive(self, response: Response, source: Source, part: Path) -> None:
        from requests import RequestException

        with part.open("ab") as file:
            try:
                for chunk in response.iter_content(CHUNK):
                    if self.stop.is_set():
                        raise DataError("interrupted")
                    file.write(chunk)
                    self._count(len(chunk))
                    if file.tell() > source.size:
                        break
            except RequestException as error:
                raise TransferError(f"{source.url}: broke off after {file.tell()} of {source.size} bytes") from error
            size = file.tell()
        if size > source.size:
            self._discard(part)
            raise TransferError(f"{source.url}: sends more than the {source.size} bytes that are published")
        if size < source.size:
            raise TransferError(f"{source.url}: ended after {size} of {source.size} bytes")

    def _count(self, size: int) -> None:
        with self.lock:
            self.progress.received(size)

    def _discard(self, part: Path) -> None:
        self._count(-_size(part))
        part.unlink(missing_ok=True)


def _first_byte(response: Response) -> int:
    """Position in the file where the body begins: 0 where the server ignores Range, -1 where it does not say."""
    if response.status_code != 206:
        return 0
    unit, _, rest = response.headers.get("Content-Range", "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdecimal() else -1


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
