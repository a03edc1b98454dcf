"""Downloads of many large files: several at a time, each resumed where it broke off, none stopped by another's failure.

A file appears under its final name only after its md5 has been compared; what has come so far lies beside it under
`.part`, and a later call goes on from there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fusionbench.core.errors import DataError
from fusionbench.core.types import Source
from fusionbench.data import downloads as download

if TYPE_CHECKING:
    from requests import Response, Session

CHUNK = 1 << 16
"""Bytes written at a time; less than that is lost where a connection breaks."""
PROGRESS = 1 << 20
"""Bytes that make an attempt worth another one."""
STALL = 60.0
"""Seconds without a byte after which a connection is given up and the rest asked for anew."""
PATIENCE = 600
"""Longest wait in seconds that a server may ask for (Retry-After)."""
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class Watch(Protocol):
    """Sees how it goes; called from several threads, one call at a time."""

    def received(self, size: int) -> None:
        """`size` more bytes; negative where bytes are thrown away."""

    def finished(self, source: Source, reason: str | None) -> None:
        """A file is there, or is given up for a reason."""


class BrokenError(Exception):
    """An attempt that another one may mend."""


def fetch_all(
    home: Path,
    sources: Sequence[Source],
    watch: Watch,
    *,
    connections: int = 4,
    retries: int = 5,
    stall: float = STALL,
    backoff: float = 1.0,
    allow_loopback_http: bool = False,
) -> dict[str, str]:
    """Download files; those that cannot be had are given up one by one.

    Args:
        connections: files at a time.
        retries: further attempts without a MiB of progress, and as many at answers of a busy server.
        stall: seconds without a byte after which an attempt is broken off.
        backoff: seconds before the second attempt at a busy server; doubles with each, unless it says how long.
        allow_loopback_http: see `download.fetch`.

    Returns:
        Path of each file that failed, with the reason.
    """
    job = _Job(home, _Locked(watch), retries, stall, backoff, allow_loopback_http, threading.Event())
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(max_workers=connections) as pool:
        tasks = {pool.submit(job.outcome, source): source for source in sources}
        try:
            for task in as_completed(tasks):
                if (reason := task.result()) is not None:
                    failed[tasks[task].path] = reason
        except BaseException:  # an interruption by the user: the threads would go on for hours
            job.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return {source.path: failed[source.path] for source in sources if source.path in failed}


def outstanding(home: Path, source: Source) -> int:
    """Bytes of a file that have not come yet; 0 where it is there whole."""
    if download.state(home, source, full=False) == "present":
        return 0
    return source.size - min(_size(_part(download.place(home, source))), source.size)


class _Locked:
    """A watch that is called by one thread at a time."""

    def __init__(self, watch: Watch) -> None:
        self.watch, self.lock = watch, threading.Lock()

    def received(self, size: int) -> None:
        with self.lock:
            self.watch.received(size)

    def finished(self, source: Source, reason: str | None) -> None:
        with self.lock:
            self.watch.finished(source, reason)


@dataclass(frozen=True)
class _Job:
    """What the downloads of one call have in common; see `fetch_all`. `stop` is set where the user interrupts."""

    home: Path
    watch: Watch
    retries: int
    stall: float
    backoff: float
    allow_loopback_http: bool
    stop: threading.Event

    def outcome(self, source: Source) -> str | None:
        """None, or why the file cannot be had."""
        from requests import RequestException

        try:
            self._fetch(source)
            reason = None
        except (DataError, BrokenError, RequestException) as error:
            reason = _line(error)
        except OSError as error:
            reason = f"cannot be written: {_line(error)}"
        self.watch.finished(source, reason)
        return reason

    def _fetch(self, source: Source) -> None:
        download.check_address(source.url, self.allow_loopback_http)
        path = download.place(self.home, source)
        path.parent.mkdir(parents=True, exist_ok=True)
        part, left = _part(path), self.retries
        with self._session() as http:
            while True:
                before = _size(part)
                try:
                    self._continue(http, source, part)
                    break
                except BrokenError:
                    left = self.retries if _size(part) >= before + PROGRESS else left - 1
                    if left < 0 or self.stop.wait(self.backoff * 2 ** (self.retries - left)):
                        raise
        part.replace(path)

    @contextmanager
    def _session(self) -> Iterator[Session]:
        """A connection of its own: sessions are not made for threads. It waits as long as a busy server asks."""
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3 import Retry

        retry = Retry(
            total=self.retries,
            status_forcelist=_BUSY,
            backoff_factor=self.backoff,
            retry_after_max=PATIENCE,
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
        if response.status_code != 416:
            download.check_response(response, self.allow_loopback_http)

    def _continue(self, http: Session, source: Source, part: Path) -> None:
        """Ask for what is missing of a file; it is whole and compared when this returns."""
        there = _size(part)
        if there > source.size:
            self._discard(part)
            there = 0
        if there < source.size:
            wanted = {"Accept-Encoding": "identity", **({"Range": f"bytes={there}-"} if there else {})}
            with http.get(source.url, headers=wanted, stream=True, timeout=self.stall) as response:
                if there and _start(response) != there:
                    self._discard(part)
                    if response.status_code != 200:
                        raise BrokenError(f"{source.url} answered {response.status_code} to a request for a part")
                self._receive(response, source, part)
        self._compare(source, part)

    def _receive(self, response: Response, source: Source, part: Path) -> None:
        from requests import RequestException

        with part.open("ab") as file:
            try:
                for chunk in response.iter_content(CHUNK):
                    if self.stop.is_set():
                        raise DataError("interrupted")
                    file.write(chunk)
                    self.watch.received(len(chunk))
                    if file.tell() > source.size:
                        break
            except RequestException as error:
                raise BrokenError(f"{source.url}: broke off after {file.tell()} of {source.size} bytes") from error
            size = file.tell()
        if size > source.size:
            self._discard(part)
            raise BrokenError(f"{source.url}: sends more than the {source.size} bytes that are published")
        if size < source.size:
            raise BrokenError(f"{source.url}: ended after {size} of {source.size} bytes")

    def _compare(self, source: Source, part: Path) -> None:
        seen = download.md5_of(part)
        if seen != source.md5:
            self._discard(part)
            raise BrokenError(f"{source.url}: expected md5 {source.md5}, received {seen}")

    def _discard(self, part: Path) -> None:
        self.watch.received(-_size(part))
        part.unlink(missing_ok=True)


def _start(response: Response) -> int:
    """Where the body begins; a server that ignores the wish for a part sends everything."""
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


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
