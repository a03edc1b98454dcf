"""Downloads against a real HTTP server on this machine; what stands in the data home, and what must not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from fusionbench import DataError, Dataset, DatasetInfo, Source
from fusionbench.data import downloads

BODY = b"one,two\n1,2\n" * 1000
SHA = hashlib.sha256(BODY).hexdigest()


class Server:
    """Answers of a path, one after the other; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answers = outer.answers[self.path]
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def source(self, *answers: Callable[[BaseHTTPRequestHandler], None], path: str = "cohort/table.csv") -> Source:
        self.answers[f"/{path}"] = list(answers)
        url = f"http://127.0.0.1:{self.http.server_port}/{path}"
        return Source(path, url, SHA, "CC0", size=len(BODY))


def send(body: bytes, *, status: int = 200, claim: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if claim is None else claim))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def redirect(to: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", to)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    made = Server()
    made.thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    made.thread.join()


def get(home: Path, source: Source, retries: int = 2) -> Path:
    return downloads.fetch(home, source, retries=retries, allow_loopback_http=True)


def contents(home: Path) -> list[str]:
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())


def test_a_good_file_lies_in_its_place(server: Server, tmp_path: Path) -> None:
    source = server.source(send(BODY))
    assert get(tmp_path, source).read_bytes() == BODY
    assert contents(tmp_path) == ["cohort/table.csv"]
    assert downloads.verify(tmp_path, [source]) == {"cohort/table.csv": SHA}


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(send(b"<html>a login page</html>"), id="wrong bytes"),
        pytest.param(send(BODY[:-5]), id="truncated on the server"),
        pytest.param(send(BODY[:-5], claim=len(BODY)), id="connection lost"),
        pytest.param(send(b"", status=503), id="unavailable"),
    ],
)
def test_a_bad_file_never_gets_its_name(server: Server, tmp_path: Path, bad: Any) -> None:
    source = server.source(bad)
    with pytest.raises(DataError, match=r"could not be downloaded in 3 attempts"):
        get(tmp_path, source)
    assert contents(tmp_path) == []
    assert len(server.asked) == 3


def test_a_bad_download_leaves_an_older_file_alone(server: Server, tmp_path: Path) -> None:
    source = server.source(send(b"wrong"))
    place = tmp_path / source.path
    place.parent.mkdir()
    place.write_bytes(b"older")
    with pytest.raises(DataError):
        get(tmp_path, source)
    assert place.read_bytes() == b"older"


def test_what_is_not_there_is_not_asked_for_twice(server: Server, tmp_path: Path) -> None:
    source = server.source(send(b"no", status=404))
    with pytest.raises(DataError, match=r"answered 404"):
        get(tmp_path, source)
    assert contents(tmp_path) == []
    assert len(server.asked) == 1


def test_a_server_error_is_retried(server: Server, tmp_path: Path) -> None:
    source = server.source(send(b"", status=500), send(BODY[:10], claim=len(BODY)), send(BODY))
    assert get(tmp_path, source).read_bytes() == BODY
    assert len(server.asked) == 3


def test_plain_http_is_refused(server: Server, tmp_path: Path) -> None:
    source = server.source(send(BODY))
    with pytest.raises(DataError, match="only https"):
        downloads.fetch(tmp_path, source)
    with pytest.raises(DataError, match="only https"):
        get(tmp_path, replace(source, url="http://example.org/table.csv"))
    with pytest.raises(DataError, match="only https"):
        get(tmp_path, replace(source, url="file:///etc/hostname"))
    assert server.asked == []


def test_a_redirect_away_from_https_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refused to download http://192\.0\.2\.1"):
        get(tmp_path, server.source(redirect("http://192.0.2.1/table.csv")))


def test_a_redirect_on_the_same_server_is_followed(server: Server, tmp_path: Path) -> None:
    server.source(send(BODY), path="other.csv")
    assert get(tmp_path, server.source(redirect("/other.csv"))).read_bytes() == BODY


@pytest.mark.parametrize("path", ["../outside.csv", "/etc/outside.csv", "a/../../outside.csv", "a\\..\\b"])
def test_a_source_cannot_leave_the_data_home(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="leads out of the data home"):
        downloads.fetch(tmp_path, Source(path, "https://example.org/x", SHA, "CC0"))


def test_verify_names_file_sums_and_command(tmp_path: Path) -> None:
    source = Source("cohort/table.csv", "https://example.org/t", SHA, "CC0", size=len(BODY))
    with pytest.raises(DataError, match=r"table\.csv is missing; run: fusionbench data fetch mine"):
        downloads.verify(tmp_path, [source], "mine")
    (tmp_path / "cohort").mkdir()
    (tmp_path / source.path).write_bytes(BODY[:-1])
    seen = hashlib.sha256(BODY[:-1]).hexdigest()
    with pytest.raises(DataError, match=rf"table\.csv is damaged.*{SHA}.*{seen}.*fusionbench data fetch 'mine\[a=1\]'"):
        downloads.verify(tmp_path, [source], "mine[a=1]")


def test_a_file_without_published_checksum_is_recorded(tmp_path: Path) -> None:
    own = Source("own.csv", "", "", "bring your own")
    with pytest.raises(DataError, match=r"own\.csv is missing; there is no download .*bring your own"):
        downloads.verify(tmp_path, [own])
    (tmp_path / "own.csv").write_bytes(BODY)
    assert downloads.verify(tmp_path, [own]) == {"own.csv": SHA}
    assert downloads.file_state(tmp_path, own) == "unverified"


def test_states(tmp_path: Path) -> None:
    source = Source("t.csv", "https://example.org/t", SHA, "CC0", size=len(BODY))
    assert downloads.file_state(tmp_path, source) == "missing"
    (tmp_path / "t.csv").write_bytes(BODY)
    assert downloads.file_state(tmp_path, source) == "present"
    (tmp_path / "t.csv").write_bytes(BODY[:-1] + b"x")
    assert downloads.file_state(tmp_path, source, full=False) == "present"  # same size: only the sum tells
    assert downloads.file_state(tmp_path, source) == "damaged"
    (tmp_path / "t.csv").write_bytes(BODY[:-1])
    assert downloads.file_state(tmp_path, source, full=False) == "damaged"


def test_the_data_home_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FUSIONBENCH_DATA", str(tmp_path))
    assert downloads.data_home() == tmp_path
    monkeypatch.delenv("FUSIONBENCH_DATA")
    assert downloads.data_home().name == "fusionbench"


class Toy(Dataset):
    """Sources are handed in; converting counts the lines."""

    name = "toy"
    given: tuple[Source, ...] = ()

    def info(self) -> DatasetInfo:
        return DatasetInfo("toy", {})

    def cases(self, unit: str = "patient") -> Any:
        return json.loads((self.home / "tidy.json").read_text())

    def sources(self) -> tuple[Source, ...]:
        return self.given

    def convert(self, raw_dir: Path, out_dir: Path) -> None:
        lines = (raw_dir / self.given[0].path).read_text().count("\n")
        (out_dir / "tidy.json").write_text(json.dumps([lines]))


def toy(home: Path, *sources: Source) -> Toy:
    made = Toy(Toy.Options(), home)
    made.given = sources
    return made


def test_fetch_downloads_what_is_missing_and_converts(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []
    one, two = server.source(send(BODY)), server.source(send(BODY), path="cohort/more.csv")
    dataset = toy(tmp_path, one, two)
    fetched = downloads.fetch_dataset(dataset, progress=lines.append, allow_loopback_http=True)
    assert [p.name for p in fetched] == ["table.csv", "more.csv"]
    assert lines == ["[1/2] cohort/table.csv (0.0 MB)", "[2/2] cohort/more.csv (0.0 MB)"]
    assert dataset.cases() == [2000]
    assert downloads.fetch_dataset(dataset, allow_loopback_http=True) == []
    (tmp_path / two.path).write_bytes(b"damaged")
    assert [p.name for p in downloads.fetch_dataset(dataset, allow_loopback_http=True)] == ["more.csv"]
    assert [row.state for row in downloads.check_dataset(dataset)] == ["present", "present"]


def test_terms_are_shown_and_must_be_accepted(server: Server, tmp_path: Path) -> None:
    source = replace(server.source(send(BODY)), terms="non-commercial, ask first", needs_accept=True)
    dataset = toy(tmp_path, source)
    with pytest.raises(DataError, match=r"non-commercial, ask first.*fusionbench data fetch toy --accept"):
        downloads.fetch_dataset(dataset, allow_loopback_http=True)
    assert server.asked == []
    assert downloads.fetch_dataset(dataset, accept=True, allow_loopback_http=True)


def test_a_file_of_ones_own_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own\.csv is missing; there is no download"):
        downloads.fetch_dataset(toy(tmp_path, Source("own.csv", "", "", "bring your own")))


def test_rows_say_what_is_there(tmp_path: Path) -> None:
    public = Source("a.csv", "https://example.org/a", SHA, "CC0", size=len(BODY))
    own = Source("own.csv", "", "", "bring your own", needs_accept=True)
    (tmp_path / "own.csv").write_bytes(b"1")
    (row,) = downloads.dataset_rows([toy(tmp_path, public, own)])
    assert row == downloads.DatasetRow("toy", 2, len(BODY), "missing", ("a.csv",), ("CC0", "bring your own"), True)
    (tmp_path / "a.csv").write_bytes(BODY)
    assert downloads.dataset_rows([toy(tmp_path, public, own)])[0].state == "unverified"
    assert downloads.dataset_rows([toy(tmp_path, public)])[0].state == "present"
    assert downloads.dataset_rows([toy(tmp_path)])[0].state == "bundled"
