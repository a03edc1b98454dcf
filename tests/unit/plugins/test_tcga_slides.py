"""The slides of a cohort: its GDC manifest, what is missing, and what is refused before any download."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fusionbench_tcga import slides
from fusionbench_tcga.cohorts import Blca, Brca, Kirp, Luad, Ucec
from fusionbench_tcga.dataset import Tcga

from fusionbench import DataError
from fusionbench.data import slide_downloads
from fusionbench.data.downloads import sha256_of
from fusionbench.data.slide_downloads import check_download, missing_slides

HEADER = "id\tfilename\tmd5\tsize\tstate"
FIRST = "TCGA-05-4244-01Z-00-DX1.AAAA.svs"
LINE = f"bc9e3954-59d0-4f25-9022-42c97db7aea2\t{FIRST}\t{'a' * 32}\t10\treleased"
OTHER = LINE.replace("4244", "4249").replace("bc9e", "cc9e")


def luad(home: Path, *lines: str) -> Tcga:
    """A cohort without a published manifest, with one of one's own."""
    made = Luad(Luad.Options(), home)
    path = home / slides.manifest("luad").path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return made


def test_a_manifest_of_ones_own(tmp_path: Path) -> None:
    found = missing_slides(luad(tmp_path, HEADER, LINE, OTHER))
    assert (found.present, found.size, len(found.slides)) == (0, 20, 2)
    assert found.summary == "2 slides of tcga-luad to download, 0.0 MB"
    first = found.slides[0]
    assert first.path == f"slides/tcga-luad/{FIRST}"
    assert first.url == "https://api.gdc.cancer.gov/data/bc9e3954-59d0-4f25-9022-42c97db7aea2"
    assert (first.md5, first.size, first.needs_accept) == ("a" * 32, 10, False)


def test_what_is_there_is_not_wanted_and_a_part_counts(tmp_path: Path) -> None:
    made = luad(tmp_path, HEADER, LINE, OTHER)
    folder = tmp_path / "slides/tcga-luad"
    folder.mkdir(parents=True)
    (folder / FIRST).write_bytes(bytes(10))
    (folder / f"{FIRST.replace('4244', '4249')}.part").write_bytes(bytes(4))
    found = missing_slides(made)
    assert (found.present, found.size, [s.path for s in found.slides]) == (
        1,
        6,
        [f"slides/tcga-luad/{FIRST.replace('4244', '4249')}"],
    )
    assert found.summary.endswith(", 1 are there")
    assert not missing_slides(made, limit=1).slides


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ((), "no column id, filename, md5, size"),
        ((HEADER.replace("md5", "sum"), LINE), "no column md5"),
        ((HEADER,), "names no slide"),
        ((HEADER, LINE.replace(FIRST, "../../evil.svs")), "line 2: filename is '../../evil.svs'"),
        ((HEADER, LINE.replace("bc9e3954", "bc9e/954")), "line 2: id is 'bc9e/954-59d0"),
        ((HEADER, LINE.replace("a" * 32, "short")), "line 2: md5 is 'short'"),
        ((HEADER, LINE.replace("\t10\t", "\t-1\t")), "line 2: size is '-1'"),
        ((HEADER, LINE, LINE), f"line 3: {FIRST} is there twice"),
    ],
)
def test_damaged_manifests(tmp_path: Path, lines: tuple[str, ...], words: str) -> None:
    with pytest.raises(DataError) as error:
        missing_slides(luad(tmp_path, *lines))
    assert words in str(error.value)
    assert "luad_wsi_manifest_filtered.txt" in str(error.value)


def test_a_cohort_without_a_manifest_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"luad_wsi_manifest_filtered\.txt is missing; download a manifest"):
        missing_slides(Luad(Luad.Options(), tmp_path))


def test_large_downloads_are_confirmed_and_must_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = replace(missing_slides(luad(tmp_path, HEADER, LINE)), size=2 * 10**9)
    monkeypatch.setattr(slide_downloads, "free_bytes", lambda _: 10**10)
    with pytest.raises(DataError, match=r"1 slides of tcga-luad .*2\.0 GB; .*data fetch tcga-luad --slides --yes"):
        check_download(missing, yes=False)
    check_download(missing, yes=True)
    check_download(replace(missing, size=10**9), yes=False)
    monkeypatch.setattr(slide_downloads, "free_bytes", lambda _: 25 * 10**8)
    with pytest.raises(DataError, match=r"2\.0 GB: .* has 2\.5 GB free, and 1\.0 GB must stay so; make room"):
        check_download(missing, yes=True)


@pytest.mark.data
@pytest.mark.parametrize(
    ("cls", "n", "gigabytes"), [(Blca, 437, 683.5), (Brca, 1022, None), (Kirp, 300, 310.1), (Ucec, 566, None)]
)
def test_the_published_manifests(cls: type[Tcga], n: int, gigabytes: float | None) -> None:
    home = Path(os.environ["FUSIONBENCH_DATA"]) if os.environ.get("FUSIONBENCH_DATA") else None
    if home is None:
        pytest.skip("needs the real cohorts: set FUSIONBENCH_DATA to a data home with healnet/")
    made = cls(cls.Options(), home)
    published = slides.manifest(made.cohort)
    assert sha256_of(home / published.path) == published.sha256
    assert not published.needs_accept
    found = slides.read_manifest(home / published.path, made.name)
    assert len(found) == n
    assert gigabytes is None or round(sum(s.size for s in found) / 1e9, 1) == gigabytes
