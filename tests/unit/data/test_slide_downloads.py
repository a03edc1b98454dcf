"""Downloads of many files against a real HTTP server that stalls, truncates, refuses, lies and ignores Range."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import pytest

from fusionbench import Source
from fusionbench.data import slide_downloads

MIB = 1 << 20
BODY = bytes(range(256)) * (3 * MIB // 256)
OTHER = BODY[::-1]
STALL = 0.3  # seconds

Answer = Callable[[BaseHTTPRequestHandler], None]


def first_byte(handler: BaseHTTPRequestHandler) -> int:
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    return int(match[1]) if match else 0


def head(handler: BaseHTTPRequestHandler, status: int, length: int, **headers: str) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def serve(body: bytes, *, until: int | None = None, then: Callable[[], object] = lambda: None) -> Answer:
    """Answer as a server should, Range and all; but send the bytes before `until` only, then do `then`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = first_byte(handler)
        if start >= len(body):
            head(handler, 416, 0, Content_Range=f"bytes */{len(body)}")
            return
        place = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        head(handler, 206 if start else 200, len(body) - start, **place)
        handler.wfile.write(body[start:until])
        handler.wfile.flush()
        then()

    return answer


def whole(body: bytes) -> Answer:
    """Ignore Range."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 200, len(body))
        handler.wfile.write(body)

    return answer


def refuse(status: int, **headers: str) -> Answer:
    return lambda handler: head(handler, status, 0, **headers)


class Server:
    """Answers of a path, one after the other; the last one stays."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, int]] = []
        lock, outer = Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with lock:
                    outer.asked.append((self.path[1:], first_byte(self)))
                    answers = outer.answers[self.path]
                    answer = answers.pop(0) if len(answers) > 1 else answers[0]
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True  # the other side has had enough

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def source(self, name: str, *answers: Answer, body: bytes = BODY) -> Source:
        self.answers[f"/{name}"] = list(answers)
        url = f"http://127.0.0.1:{self.http.server_port}/{name}"
        return Source(f"slides/{name}", url, "", "open", size=len(body), md5=hashlib.md5(body).hexdigest())


class Seen:
    """Progress callbacks that record their calls."""

    def __init__(self) -> None:
        self.bytes, self.ended = 0, dict[str, str | None]()

    def received(self, size: int) -> None:
        self.bytes += size

    def finished(self, source: Source, reason: str | None) -> None:
        self.ended[source.path] = reason


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Server()
    made.thread.start()
    yield made
    made.http.shutdown()
    made.http.server_close()
    made.thread.join()


def get(home: Path, *sources: Source, **options: Any) -> dict[str, str]:
    chosen = {"progress": Seen(), "retries": 2, "stall": STALL, "backoff": 0.01, **options}
    return slide_downloads.download_slides(home, sources, allow_loopback_http=True, **chosen)


def left_over(home: Path) -> list[str]:
    return sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file())


def test_a_file_comes_whole_and_its_bytes_are_counted(server: Server, tmp_path: Path) -> None:
    seen = Seen()
    assert get(tmp_path, server.source("a.svs", serve(BODY)), progress=seen) == {}
    assert (tmp_path / "slides/a.svs").read_bytes() == BODY
    assert (seen.bytes, seen.ended) == (len(BODY), {"slides/a.svs": None})
    assert left_over(tmp_path) == ["slides/a.svs"]


def test_a_truncated_file_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    source = server.source(
        "a.svs", serve(BODY, until=MIB + slide_downloads.CHUNK + 5), serve(BODY, until=2 * MIB), serve(BODY)
    )
    assert get(tmp_path, source) == {}
    assert (tmp_path / "slides/a.svs").read_bytes() == BODY
    assert [start for _, start in server.asked] == [0, MIB + slide_downloads.CHUNK, 2 * MIB]


def test_a_stalled_connection_is_given_up_and_resumed(server: Server, tmp_path: Path) -> None:
    done = Event()
    source = server.source("a.svs", serve(BODY, until=2 * MIB, then=lambda: done.wait(20)), serve(BODY))
    began = time.monotonic()
    assert get(tmp_path, source) == {}
    assert time.monotonic() - began < 10
    done.set()
    assert [start for _, start in server.asked] == [0, 2 * MIB]


def test_a_server_that_ignores_range_starts_anew(server: Server, tmp_path: Path) -> None:
    seen = Seen()
    source = server.source("a.svs", serve(BODY, until=2 * MIB), whole(BODY))
    assert get(tmp_path, source, progress=seen) == {}
    assert (tmp_path / "slides/a.svs").read_bytes() == BODY
    assert seen.bytes == len(BODY)


def test_a_part_from_elsewhere_than_asked_for_is_not_appended(server: Server, tmp_path: Path) -> None:
    def elsewhere(handler: BaseHTTPRequestHandler) -> None:
        head(handler, 206, 4, Content_Range=f"bytes 0-3/{len(BODY)}")
        handler.wfile.write(BODY[:4])

    assert get(tmp_path, server.source("a.svs", serve(BODY, until=MIB), elsewhere, serve(BODY))) == {}
    assert (tmp_path / "slides/a.svs").read_bytes() == BODY


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    assert get(tmp_path, server.source("a.svs", refuse(status), refuse(status), serve(BODY))) == {}
    assert len(server.asked) == 3


def test_a_server_says_how_long_to_wait(server: Server, tmp_path: Path) -> None:
    began = time.monotonic()
    assert get(tmp_path, server.source("a.svs", refuse(429, Retry_After="1"), serve(BODY))) == {}
    assert time.monotonic() - began >= 1


def test_wrong_bytes_are_thrown_away_and_fetched_again(server: Server, tmp_path: Path) -> None:
    assert get(tmp_path, server.source("a.svs", serve(OTHER), serve(BODY))) == {}
    assert [start for _, start in server.asked] == [0, 0]


@pytest.mark.parametrize(
    ("answer", "words", "asked", "left"),
    [
        (serve(OTHER), f"expected md5 {hashlib.md5(BODY).hexdigest()}, received", 3, []),
        (serve(BODY, until=MIB // 2), "broke off after 524288 of 3145728 bytes", 3, ["slides/a.svs.part"]),
        (whole(BODY[:10]), "ended after 10 of 3145728 bytes", 3, ["slides/a.svs.part"]),
        (whole(BODY + b"x"), "sends more than the 3145728 bytes", 3, []),
        (refuse(500), "answered 500 Internal Server Error 3 times", 3, []),
        (refuse(429), "answered 429 Too Many Requests 3 times", 3, []),
        (refuse(404), "answered 404 Not Found", 1, []),
        (refuse(403), "answered 403 Forbidden", 1, []),
        (refuse(302, Location="ftp://127.0.0.1/a"), "only https", 1, []),
    ],
)
def test_what_cannot_be_had_is_given_up_with_its_reason(
    server: Server, tmp_path: Path, answer: Answer, words: str, asked: int, left: list[str]
) -> None:
    source, seen = server.source("a.svs", answer), Seen()
    failed = get(tmp_path, source, progress=seen)
    assert words in failed["slides/a.svs"]
    assert "\n" not in failed["slides/a.svs"]
    assert seen.ended == failed
    assert left_over(tmp_path) == left
    assert len(server.asked) == asked


def test_a_failure_stops_nobody_else_and_the_next_call_does_the_rest(server: Server, tmp_path: Path) -> None:
    names = [f"{i}.svs" for i in range(6)]
    sources = [server.source(name, serve(BODY)) for name in names]
    bad = server.source("bad.svs", serve(BODY, until=2 * MIB), serve(BODY, until=2 * MIB))
    assert list(get(tmp_path, *sources[:3], bad, *sources[3:])) == ["slides/bad.svs"]
    assert left_over(tmp_path) == [*(f"slides/{name}" for name in names), "slides/bad.svs.part"]
    assert slide_downloads.missing_bytes(tmp_path, bad) == MIB
    assert slide_downloads.missing_bytes(tmp_path, sources[0]) == 0

    server.asked.clear()
    server.answers["/bad.svs"] = [serve(BODY)]
    missing = [s for s in (*sources, bad) if slide_downloads.missing_bytes(tmp_path, s)]
    assert get(tmp_path, *missing) == {}
    assert server.asked == [("bad.svs", 2 * MIB)]


def test_no_more_connections_than_asked_for(server: Server, tmp_path: Path) -> None:
    lock, at_once, most = Lock(), 0, 0

    def slow(handler: BaseHTTPRequestHandler) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.05)
        with lock:
            at_once -= 1
        serve(BODY)(handler)

    assert get(tmp_path, *(server.source(f"{i}.svs", slow) for i in range(9)), connections=3) == {}
    assert 1 < most <= 3


def test_plain_http_is_refused_and_so_is_a_path_out_of_the_data_home(server: Server, tmp_path: Path) -> None:
    source = server.source("a.svs", serve(BODY))
    assert "only https" in slide_downloads.download_slides(tmp_path, [source], Seen())[source.path]
    outside = Source("../a.svs", source.url, "", "", size=1, md5="0" * 32)
    assert "leads out of the data home" in get(tmp_path, outside)["../a.svs"]
    assert server.asked == []


def test_a_file_that_cannot_be_written_is_its_own_failure(server: Server, tmp_path: Path) -> None:
    (tmp_path / "slides").write_text("a file where the folder should be")
    assert "cannot be written" in get(tmp_path, server.source("a.svs", serve(BODY)))["slides/a.svs"]


def test_an_interruption_keeps_what_has_come(server: Server, tmp_path: Path) -> None:
    class Impatient(Seen):
        def finished(self, source: Source, reason: str | None) -> None:
            if reason is None:
                raise KeyboardInterrupt

    slow = server.source("slow.svs", serve(BODY, until=MIB, then=lambda: time.sleep(1)), serve(BODY))
    with pytest.raises(KeyboardInterrupt):
        get(tmp_path, server.source("a.svs", serve(BODY)), slow, progress=Impatient())
    assert left_over(tmp_path) == ["slides/a.svs", "slides/slow.svs.part"]
    assert get(tmp_path, slow) == {}
