"""`fusionbench data fetch NAME --slides` as a user calls it, against a server on this machine."""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

import pytest
from fusionbench_tcga import slides

from fusionbench.data import slide_downloads
from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error
from tests.unit.data.test_slide_downloads import BODY, Server, refuse, serve, server

__all__ = ["server"]  # a fixture
NAMES = [f"TCGA-05-4244-01Z-00-DX{i}" for i in (1, 2, 3)]
UUIDS = [f"{i}c9e3954-59d0-4f25-9022-42c97db7aea2" for i in (1, 2, 3)]


@pytest.fixture
def home(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home with a manifest of three slides, which the local server has."""
    home = tmp_path / "data"
    path = home / slides.manifest("luad").path
    path.parent.mkdir(parents=True)
    md5 = hashlib.md5(BODY).hexdigest()
    rows = [f"{u}\t{n}.AA.svs\t{md5}\t{len(BODY)}\treleased" for u, n in zip(UUIDS, NAMES, strict=True)]
    path.write_text("\n".join(["id\tfilename\tmd5\tsize\tstate", *rows]) + "\n")
    for uuid in UUIDS:
        server.source(uuid, serve(BODY))
    local = partial(slide_downloads.download_slides, allow_loopback_http=True, retries=1, backoff=0.01)
    monkeypatch.setattr(slide_downloads, "download_slides", local)
    monkeypatch.setattr(slides, "API", f"http://127.0.0.1:{server.http.server_port}/")
    monkeypatch.setenv("FUSIONBENCH_DATA", str(home))
    return home


def test_a_failed_slide_stops_no_other_and_a_second_call_fetches_it(cli: Cli, server: Server, home: Path) -> None:
    server.answers[f"/{UUIDS[1]}"] = [serve(BODY[::-1])]
    first = cli("data", "fetch", "tcga-luad", "--slides", "--connections", "2")
    assert first.returncode == 1
    assert first.stdout.splitlines() == [
        "3 slides of tcga-luad to download, 9.4 MB",
        "2 of 3 slides downloaded",
    ]
    failed = [line for line in first.stderr.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 1
    assert f"slides/tcga-luad/{NAMES[1]}.AA.svs: " in failed[0]
    assert "expected md5" in failed[0]
    assert sorted(p.name for p in (home / "slides/tcga-luad").iterdir()) == [f"{NAMES[i]}.AA.svs" for i in (0, 2)]

    server.answers[f"/{UUIDS[1]}"] = [serve(BODY)]
    server.asked.clear()
    second = cli("data", "fetch", "tcga-luad", "--slides")
    assert second.returncode == 0
    assert second.stdout.splitlines()[0] == "1 slides of tcga-luad to download, 3.1 MB, 2 are there"
    assert server.asked == [(UUIDS[1], 0)]
    assert cli("data", "fetch", "tcga-luad", "--slides").stdout == "all 3 slides are there\n"


def test_only_the_first_ones(cli: Cli, home: Path) -> None:
    assert cli("data", "fetch", "tcga-luad", "--slides", "--limit", "1").returncode == 0
    assert [p.name for p in (home / "slides/tcga-luad").iterdir()] == [f"{NAMES[0]}.AA.svs"]


def test_more_than_a_gigabyte_wants_a_yes(
    cli: Cli, server: Server, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_downloads, "CONFIRM_BYTES", 10**6)
    one_error(cli("data", "fetch", "tcga-luad", "--slides"), "3 slides", "9.4 MB", "tcga-luad --slides --yes")
    one_error(cli("data", "fetch", "tcga-luad", "--slides", "--limit", "2"), "2 slides", "--slides --limit 2 --yes")
    assert server.asked == []
    assert cli("data", "fetch", "tcga-luad", "--slides", "--yes").returncode == 0


def test_a_full_disk_is_seen_before(cli: Cli, server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_downloads, "free_bytes", lambda _: 10**9)
    one_error(cli("data", "fetch", "tcga-luad", "--slides"), "has 1.0 GB free", "make room")
    assert server.asked == []


def test_a_server_that_is_down_all_the_time(cli: Cli, server: Server, home: Path) -> None:
    for uuid in UUIDS:
        server.answers[f"/{uuid}"] = [refuse(503)]
    result = cli("data", "fetch", "tcga-luad", "--slides")
    assert result.returncode == 1
    assert result.stderr.count("answered 503 Service Unavailable 2 times") == 2 * 3  # as it happens, and in the list
    assert "0 of 3 slides downloaded" in result.stdout


def test_cohorts_without_slides(cli: Cli, home: Path) -> None:
    one_error(cli("data", "fetch", "synthetic", "--slides"), "synthetic: no slides to download are known")
    one_error(cli("data", "fetch", "tcga-paad", "--slides"), "paad_wsi_manifest_filtered.txt is missing", "portal.gdc")
