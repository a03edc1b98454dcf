"""The data home: where a cohort's files lie, whether they are the published ones, and how they get there.

A file appears under its final name only after its sha256 has been compared, so an interrupted or damaged download
leaves nothing behind that a later run could take for data.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from fusionbench.core.errors import DataError
from fusionbench.core.types import Source

ENVIRONMENT = "FUSIONBENCH_DATA"
State = Literal["present", "missing", "damaged", "unverified"]

FEWEST_DIGITS = 8
"""Of a sha256, below which a file is not downloaded."""
_ALL_DIGITS = 64
_TIMEOUT = 60.0  # seconds without a byte from the server
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def data_home() -> Path:
    """The folder of all cohorts: environment variable FUSIONBENCH_DATA, else the user's cache folder."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(chosen).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("fusionbench")


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def md5_of(path: Path) -> str:
    """Hexadecimal md5 of a file's content; for files of which nothing better is published."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def place(home: Path, source: Source) -> Path:
    """Where `source` lies under `home`.

    Raises:
        DataError: its path is absolute or leads out of the data home.
    """
    path = PurePosixPath(source.path)
    if path.is_absolute() or ".." in path.parts or "\\" in source.path:
        raise DataError(f"source path {source.path!r} leads out of the data home; a plugin must use a relative path")
    return home / path


def state(home: Path, source: Source, *, full: bool = True) -> State:
    """Whether a file is there and is the published one.

    Args:
        full: compare the checksum; otherwise only the size, where it is known.

    Returns:
        "unverified" for a file whose checksum nobody published: it is there, and taken as it is.
    """
    path = place(home, source)
    if not path.is_file():
        return "missing"
    if not (source.sha256 or source.md5):
        return "unverified"
    wrong_size = source.size > 0 and path.stat().st_size != source.size
    return "damaged" if wrong_size or (full and not _is_published(path, source)) else "present"


def _is_published(path: Path, source: Source) -> bool:
    return _is(sha256_of(path), source) if source.sha256 else md5_of(path) == source.md5


def verify(home: Path, sources: Iterable[Source], dataset: str = "NAME") -> dict[str, str]:
    """Checksums of the files, each compared with the published one where there is one.

    Args:
        dataset: the name to put into the command of an error message.

    Raises:
        DataError: a file is missing, truncated or altered; names the file, both sums and the command that fetches it.
    """
    return {source.path: _verified(home, source, dataset) for source in sources}


def _verified(home: Path, source: Source, dataset: str) -> str:
    path = place(home, source)
    if not path.is_file():
        raise DataError(f"{path} is missing; {remedy(source, dataset)}")
    seen = sha256_of(path)
    if source.sha256 and not _is(seen, source):
        raise DataError(
            f"{path} is damaged: expected sha256 {source.sha256}, found {seen} ({path.stat().st_size} bytes); "
            f"{remedy(source, dataset)}"
        )
    return seen


def _is(seen: str, source: Source) -> bool:
    """Whether a sha256 is the published one, of which only the first digits may be known."""
    return seen.startswith(source.sha256.lower())


def remedy(source: Source, dataset: str) -> str:
    """What to do about a missing file, in words."""
    if source.url:
        return f"run: fusionbench data fetch {shlex.quote(dataset)}"
    return f"there is no download for it: put your own at this place ({source.terms})"


def fetch(
    home: Path,
    source: Source,
    *,
    retries: int = 3,
    allow_loopback_http: bool = False,
) -> Path:
    """Download one file, compare its sha256, and only then give it its name.

    Args:
        retries: further attempts after a broken connection, a server error or a wrong checksum.
        allow_loopback_http: accept plain http from this very machine (a mirror, a test); otherwise https only.

    Raises:
        DataError: no address, not https, refused by the server, or still damaged after all attempts.
    """
    path = place(home, source)
    if not source.url or len(source.sha256) < FEWEST_DIGITS:
        raise DataError(f"{path} cannot be downloaded; {remedy(source, 'NAME')}")
    check_address(source.url, allow_loopback_http)
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # its own lines about retries; ours are one per file
    downloader = pooch.HTTPDownloader(
        timeout=_TIMEOUT, hooks={"response": lambda response, **_: check_response(response, allow_loopback_http)}
    )
    try:
        if len(source.sha256) == _ALL_DIGITS:
            _pooch(home, source, source.path, f"sha256:{source.sha256}", retries).fetch(
                source.path, downloader=downloader
            )
        else:
            _fetch_by_digits(home, source, retries, downloader)
    except (requests.RequestException, ValueError) as error:
        raise DataError(f"{source.url} could not be downloaded in {retries + 1} attempts: {_line(error)}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be written: {_line(error)}; set {ENVIRONMENT} to a folder of yours") from error
    return path


def _pooch(home: Path, source: Source, name: str, known: str | None, retries: int) -> Any:
    import pooch

    store = pooch.create(home, "", registry={name: known}, urls={name: source.url})
    store.retry_if_failed = retries
    return store


def _fetch_by_digits(home: Path, source: Source, retries: int, downloader: Any) -> None:
    """pooch compares whole checksums only: the digits are compared before it names the file, which then moves."""
    name = f"{source.path}.checked"

    def download(url: str, output: Any, pooch: Any) -> None:
        downloader(url, output, pooch)
        seen = sha256_of(Path(output))
        if not _is(seen, source):
            raise ValueError(f"expected a sha256 that begins with {source.sha256}, found {seen}")

    _pooch(home, source, name, None, retries).fetch(name, downloader=download)
    os.replace(home / name, place(home, source))


def check_address(url: str, allow_loopback_http: bool) -> None:
    """Refuse what is not https, but for plain http from this machine where that is allowed."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (allow_loopback_http and parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise DataError(f"refused to download {url}: only https addresses are fetched")


def check_response(response: Any, allow_loopback_http: bool) -> None:
    """Refuse redirects away from https, and answers that another attempt will not change."""
    if response.is_redirect:
        check_address(urljoin(response.url, response.headers["location"]), allow_loopback_http)
    if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
        raise DataError(
            f"{response.url} answered {response.status_code} {response.reason}; bring the file yourself, or update"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
