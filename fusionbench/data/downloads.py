"""The data home: where the files of the cohorts lie, whether they are the published ones, and how to download them.

A file appears under its final name only after its sha256 has been compared, so an interrupted or damaged download
leaves nothing behind that a later run could take for data.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

from fusionbench.core.errors import DataError
from fusionbench.core.interfaces import Dataset
from fusionbench.core.types import Source
from fusionbench.data.cohort import dataset_label

__all__ = ["data_home", "fetch", "file_state", "local_path", "sha256_of", "verify"]
"""For plugins; the other names are for the package alone."""

ENVIRONMENT = "FUSIONBENCH_DATA"
FileState = Literal["present", "missing", "damaged", "unverified"]

MIN_DIGITS = 8
"""Shortest published beginning of a sha256 with which a file is downloaded."""
_ALL_DIGITS = 64
_TIMEOUT = 60.0  # seconds without a byte from the server
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_NO_FILES = "no files: made by a program or bundled with a package"
_OWN_FILES = "files of your own, named by an option"


@dataclass(frozen=True)
class DatasetRow:
    """One dataset with its options in `data ls`.

    Attributes:
        files: how many it needs; size: their bytes together, as far as known.
        state: the worst of its files ("missing" before "damaged" before "unverified" before "present"); where it has
            none to fetch, "bundled" or "yours".
        absent: paths under the data home that are missing or damaged.
        terms: each distinct licence or condition once.
        needs_accept: fetching asks for `--accept`.
    """

    dataset: str
    files: int
    size: int
    state: str
    absent: tuple[str, ...]
    terms: tuple[str, ...]
    needs_accept: bool


@dataclass(frozen=True)
class FileRow:
    """One file in `data check`: its path under the data home, its state, and the sha256 that is published."""

    path: str
    state: FileState
    sha256: str
    terms: str


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
    """Hexadecimal md5 of a file's content; for files of which no better checksum is published."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def local_path(home: Path, source: Source) -> Path:
    """The path of `source` under the data home.

    Raises:
        DataError: its path is absolute or leads out of the data home.
    """
    path = PurePosixPath(source.path)
    if path.is_absolute() or ".." in path.parts or "\\" in source.path:
        raise DataError(f"source path {source.path!r} leads out of the data home; a plugin must use a relative path")
    return home / path


def file_state(home: Path, source: Source, *, full: bool = True) -> FileState:
    """Whether a file exists and is the published one.

    Args:
        full: compare the checksum; otherwise only the size, where it is known.

    Returns:
        "unverified" for a file whose checksum nobody published: it exists, and is accepted as it is.
    """
    path = local_path(home, source)
    if not path.is_file():
        return "missing"
    if not (source.sha256 or source.md5):
        return "unverified"
    wrong_size = source.size > 0 and path.stat().st_size != source.size
    return "damaged" if wrong_size or (full and not _is_published(path, source)) else "present"


def _is_published(path: Path, source: Source) -> bool:
    return _matches(sha256_of(path), source) if source.sha256 else md5_of(path) == source.md5


def _matches(sha256: str, source: Source) -> bool:
    """Whether a sha256 is the published one, of which only the first digits may be known."""
    return sha256.startswith(source.sha256.lower())


def verify(home: Path, sources: Iterable[Source], dataset: str = "NAME") -> dict[str, str]:
    """Checksums of the files by path, each compared with the published one where there is one.

    Args:
        dataset: the name to put into the command of an error message.

    Raises:
        DataError: a file is missing, truncated or altered; names the file, both sums and the command that fetches it.
    """
    return {source.path: _verified(home, source, dataset) for source in sources}


def _verified(home: Path, source: Source, dataset: str) -> str:
    path = local_path(home, source)
    if not path.is_file():
        raise missing(path, source, dataset)
    actual = sha256_of(path)
    require_published(path, source, actual, path.stat().st_size, dataset)
    return actual


def missing(path: Path, source: Source, dataset: str) -> DataError:
    """The error of a file that is not there, with its remedy."""
    return DataError(f"{path} is missing; {_remedy(source, dataset)}")


def require_published(path: Path, source: Source, sha256: str, size: int, dataset: str) -> None:
    """Compare the sum of what was read with the published one, where there is one.

    Raises:
        DataError: they differ; names the file, both sums, the size in bytes and the remedy.
    """
    if source.sha256 and not _matches(sha256, source):
        raise DataError(
            f"{path} is damaged: expected sha256 {source.sha256}, found {sha256} ({size} bytes); "
            f"{_remedy(source, dataset)}"
        )


def _remedy(source: Source, dataset: str) -> str:
    """What the user can do about a missing file; the end of a message."""
    if source.url:
        return f"run: fusionbench data fetch {shlex.quote(dataset)}"
    return f"there is no download for it: put your own at this place ({source.terms})"


def fetch(home: Path, source: Source, *, retries: int = 3, allow_loopback_http: bool = False) -> Path:
    """Download one file, compare its sha256, and only then give it its name; returns its path.

    Args:
        retries: further attempts after a broken connection, a server error or a wrong checksum.
        allow_loopback_http: accept plain http from this very machine (a mirror, a test); otherwise https only.

    Raises:
        DataError: no address, not https, refused by the server, or still damaged after all attempts.
    """
    path = local_path(home, source)
    if not source.url or len(source.sha256) < MIN_DIGITS:
        raise DataError(f"{path} cannot be downloaded; {_remedy(source, 'NAME')}")
    check_address(source.url, allow_loopback_http)
    import pooch
    import requests

    pooch.get_logger().setLevel("ERROR")  # pooch logs every retry; the progress lines here are one per file
    downloader = pooch.HTTPDownloader(
        timeout=_TIMEOUT, hooks={"response": lambda response, **_: check_response(response, allow_loopback_http)}
    )
    try:
        if len(source.sha256) == _ALL_DIGITS:
            store = _pooch(home, source, source.path, f"sha256:{source.sha256}", retries)
            store.fetch(source.path, downloader=downloader)
        else:
            _fetch_by_digits(home, source, retries, downloader)
    except (requests.RequestException, ValueError) as error:
        reason = one_line(error)
        raise DataError(f"{source.url} could not be downloaded in {retries + 1} attempts: {reason}") from error
    except OSError as error:
        reason = f"cannot be written: {one_line(error)}; set {ENVIRONMENT} to a folder of yours"
        raise DataError(f"{path} {reason}") from error
    return path


def _pooch(home: Path, source: Source, name: str, known: str | None, retries: int) -> Any:
    import pooch

    store = pooch.create(home, "", registry={name: known}, urls={name: source.url})
    store.retry_if_failed = retries
    return store


def _fetch_by_digits(home: Path, source: Source, retries: int, downloader: Any) -> None:
    """Download a file of whose sha256 only the first digits are published.

    pooch compares whole checksums only. So the digits are compared inside pooch's download, before it names the file.
    """
    name = f"{source.path}.checked"

    def download(url: str, output: Any, pooch: Any) -> None:
        downloader(url, output, pooch)
        actual = sha256_of(Path(output))
        if not _matches(actual, source):
            raise ValueError(f"expected a sha256 that begins with {source.sha256}, found {actual}")

    _pooch(home, source, name, None, retries).fetch(name, downloader=download)
    os.replace(home / name, local_path(home, source))


def check_address(url: str, allow_loopback_http: bool) -> None:
    """Refuse addresses that are not https; plain http from this machine passes where that is allowed.

    Raises:
        DataError: the address is refused.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (allow_loopback_http and parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return
    raise DataError(f"refused to download {url}: only https addresses are fetched")


def check_response(response: Any, allow_loopback_http: bool) -> None:
    """Refuse redirects away from https, and answers that another attempt will not change.

    Args:
        response: of requests.

    Raises:
        DataError: with the status that the server answered.
    """
    if response.is_redirect:
        check_address(urljoin(response.url, response.headers["location"]), allow_loopback_http)
    if 400 <= response.status_code < 500 and response.status_code not in (408, 429):
        raise DataError(
            f"{response.url} answered {response.status_code} {response.reason}; bring the file yourself, or update"
        )


def one_line(error: Exception) -> str:
    """An exception's message without line breaks; its class where the message is empty."""
    return " ".join(str(error).split()) or type(error).__name__


def dataset_rows(datasets: Iterable[Dataset]) -> list[DatasetRow]:
    """The table of `data ls`. Compares sizes only, so it stays quick; `check_dataset` compares checksums."""
    return [_dataset_row(dataset) for dataset in datasets]


def _dataset_row(dataset: Dataset) -> DatasetRow:
    sources = tuple(dataset.sources())
    states = {s.path: file_state(dataset.home, s, full=False) for s in sources}
    worst = [s for s in ("missing", "damaged", "unverified", "present") if s in states.values()]
    none = ("yours", _OWN_FILES) if dataset.own_files else ("bundled", _NO_FILES)
    return DatasetRow(
        dataset=dataset_label(dataset),
        files=len(sources),
        size=sum(s.size for s in sources),
        state=worst[0] if worst else none[0],
        absent=tuple(path for path, state in states.items() if state in ("missing", "damaged")),
        terms=tuple(dict.fromkeys(s.terms for s in sources)) or (none[1],),
        needs_accept=any(s.needs_accept for s in sources),
    )


def fetch_dataset(
    dataset: Dataset,
    *,
    accept: bool = False,
    progress: Callable[[str], None] = lambda line: None,
    retries: int = 3,
    allow_loopback_http: bool = False,
) -> list[Path]:
    """Download the missing and damaged files of a dataset, then convert them to the files the cohort is read from.

    Args:
        accept: the user has agreed to the terms of sources that need it.
        progress: gets one line per file.
        retries, allow_loopback_http: see `fetch`.

    Returns:
        The files that were downloaded; empty where none was missing.

    Raises:
        DataError: terms not accepted (the message holds them), a failed download, or a file only the user can bring.
    """
    sources = tuple(dataset.sources())
    absent = [s for s in sources if file_state(dataset.home, s) in ("missing", "damaged")]
    public = [s for s in absent if s.url]
    _check_terms(dataset, public, accept)
    downloaded = []
    for number, source in enumerate(public, 1):
        size = f"{source.size / 1e6:.1f} MB" if source.size else "size unknown"
        progress(f"[{number}/{len(public)}] {source.path} ({size})")
        downloaded.append(fetch(dataset.home, source, retries=retries, allow_loopback_http=allow_loopback_http))
    for source in absent:
        if not source.url:
            raise missing(dataset.home / source.path, source, dataset_label(dataset))
    if sources:
        dataset.convert(dataset.home, dataset.home)
    return downloaded


def _check_terms(dataset: Dataset, sources: Sequence[Source], accept: bool) -> None:
    terms = dict.fromkeys(s.terms for s in sources if s.needs_accept)
    if terms and not accept:
        raise DataError(
            f"{dataset_label(dataset)} comes under terms of its own: {'; '.join(terms)}. "
            f"If you agree, run: fusionbench data fetch {shlex.quote(dataset_label(dataset))} --accept"
        )


def check_dataset(dataset: Dataset) -> list[FileRow]:
    """The state of each of the dataset's files, by checksum; then, if none is absent, its cases are read once.

    Raises:
        DataError: the files do not make a cohort (a derived file is missing or altered, a row is invalid).
    """
    rows = [FileRow(s.path, file_state(dataset.home, s), s.sha256, s.terms) for s in dataset.sources()]
    if all(row.state in ("present", "unverified") for row in rows):
        dataset.info()
        dataset.cases()
    return rows
