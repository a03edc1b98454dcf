"""Lists of published files, and reading one of them."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from fusionbench import DataError, Source
from fusionbench.data.published_files import read_published, read_sheets, read_sources


def test_a_list_gives_pinned_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "listing"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "sources.csv").write_text(
        "path,bytes,repository,commit,repository_path,sha256\nmine/a.csv,7,o/n,c0ffee,A table.csv,ab12\n"
        "mine/b.csv,8,o/free,dead,b.csv,cd34\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sources = read_sources("listing", {"o/n": "no licence", "o/free": "MIT"}, {"o/free"})
    url = "https://raw.githubusercontent.com"
    assert list(sources.values()) == [
        Source("mine/a.csv", f"{url}/o/n/c0ffee/A%20table.csv", "ab12", "no licence", needs_accept=True, size=7),
        Source("mine/b.csv", f"{url}/o/free/dead/b.csv", "cd34", "MIT", size=8),
    ]


def test_content_and_sum_of_a_file_whose_sum_is_published_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"1,2")
    sha256 = hashlib.sha256(b"1,2").hexdigest()
    for published in (sha256, sha256[:8], ""):
        assert read_published(tmp_path, Source("a.csv", "https://x", published, "MIT"), "mine") == (b"1,2", sha256)


def test_a_file_without_download_is_the_users_to_bring(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.csv is missing; there is no download for it: put your own at .*\(terms\)"):
        read_published(tmp_path, Source("a.csv", "", "", "terms"), "mine")


def test_without_openpyxl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"^book\.xlsx: spreadsheets need openpyxl.*fusionbench\[excel\]"):
        read_sheets(b"", "book.xlsx", ("one",))
