"""Real servers on loopback: MLflow, PostgreSQL, and HTTP servers that answer badly."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from fusionbench.report.mlflow import ui_environment

LOOPBACK = "127.0.0.1"
POSTGRES_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""Debian puts `initdb` on nobody's path."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


class MlflowServer:
    """A tracking server that can be killed and started again at the same address."""

    def __init__(self, command: Sequence[str], port: int, folder: Path) -> None:
        self.command, self.url = command, f"http://{LOOPBACK}:{port}"
        self.log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 180) -> None:
        """
        Raises:
            AssertionError: it did not start; with the end of its log.
        """
        with self.log.open("a") as log:
            where = {"cwd": self.log.parent, "stdout": log, "stderr": log}
            self._process = subprocess.Popen(self.command, env=ui_environment(), start_new_session=True, **where)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._process.poll() is None:
            try:
                requests.get(f"{self.url}/health", timeout=2).raise_for_status()
                return
            except requests.RequestException:
                time.sleep(0.3)
        self.stop(signal.SIGKILL)
        raise AssertionError(f"mlflow server did not start: {self.log.read_text()[-2000:]}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it and its workers; SIGKILL is how a machine that loses power ends it."""
        if self._process is not None:
            with_workers, self._process = self._process, None
            if with_workers.poll() is None:
                os.killpg(with_workers.pid, how)
            with_workers.wait(60)


@contextmanager
def mlflow_server(command: Sequence[str], port: int, folder: Path) -> Iterator[MlflowServer]:
    """A running server; `command` has it listen at `port`."""
    server = MlflowServer(command, port, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def postgresql() -> Iterator[str]:
    """URI of an empty database of a PostgreSQL of its own; skips with the reason where there can be none."""
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed (it belongs to the extra `test`)")
    if POSTGRES_BIN is None:
        pytest.skip("no PostgreSQL is installed (Debian: apt-get install postgresql)")
    account: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        if shutil.which("runuser") is None:
            pytest.skip("PostgreSQL does not run as root, and there is no runuser to start it as somebody else")
        account = ["runuser", "-u", "postgres", "--"]
    with tempfile.TemporaryDirectory(prefix="fusionbench-postgresql-") as name:
        folder, password, port = Path(name), secrets.token_hex(8), free_port()
        (folder / "password").write_text(password)
        if account:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        call = partial(subprocess.run, check=True, capture_output=True, text=True, timeout=120, cwd=folder)
        asked = ["--username", "fusionbench", f"--pwfile={folder / 'password'}", "--auth", "scram-sha-256", "--no-sync"]
        call([*account, str(POSTGRES_BIN / "initdb"), "-D", str(folder / "data"), "--encoding", "UTF8", *asked])
        options = f"-p {port} -c listen_addresses={LOOPBACK} -c unix_socket_directories='' -c fsync=off"
        control = [*account, str(POSTGRES_BIN / "pg_ctl"), "-D", str(folder / "data"), "-w"]
        call([*control, "-l", str(folder / "log"), "-o", options, "start"])
        try:
            yield f"postgresql+psycopg2://fusionbench:{password}@{LOOPBACK}:{port}/postgres"
        finally:
            call([*control, "-m", "immediate", "stop"])


@dataclass(frozen=True)
class Answer:
    """What a bad server says to whatever it is asked."""

    status: int
    body: str
    kind: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[str]]]:
    """The URL of a server with one answer, and the requests it has had so far."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen.append(f"{self.command} {self.path}")
            body = answer.body.encode()
            self.send_response(answer.status)
            for name, value in (("Content-Type", answer.kind), ("Content-Length", str(len(body))), *answer.headers):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = handle_any

        def log_message(self, *args: object) -> None:
            return

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen(8)
        yield f"http://{LOOPBACK}:{listening.getsockname()[1]}"


def refusing() -> str:
    """An address at which nothing listens."""
    return f"http://{LOOPBACK}:{free_port()}"
