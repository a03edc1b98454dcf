"""Which executor a run has, and what is refused, in one line, before anything is computed."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusionbench.core.errors import FusionBenchError, SuiteError
from fusionbench.core.executor import Executor, ResourceRequest
from fusionbench.core.registry import Registry
from fusionbench.execution.executors import options as module
from fusionbench.execution.executors.cluster import check, check_temporary_folder, cluster, fits
from fusionbench.execution.executors.options import RunOptions, choose, seconds
from fusionbench.execution.executors.ray import Ray
from fusionbench.execution.executors.serial import Serial


class Toy(Serial):
    name = "toy"
    supports = frozenset({"jobs"})


def registry(*classes: type[Executor]) -> Registry:
    return Registry((), MappingProxyType({"executors": {cls.name: (cls, "test") for cls in classes}}))


ALL = registry(Serial, Ray, Toy)


@pytest.fixture(autouse=True)
def _four_cores_and_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "cores", lambda: 4)
    monkeypatch.setattr(module, "find_spec", lambda name: ModuleSpec(name, None))


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    return registry(Serial, Toy)


@pytest.mark.parametrize(
    ("asked", "name", "wanted"),
    [
        ({}, "serial", ResourceRequest(1, 4)),
        ({"jobs": 1}, "serial", ResourceRequest(1, 4)),
        ({"jobs": 2}, "ray", ResourceRequest(2, 2)),
        ({"jobs": 3}, "ray", ResourceRequest(3, 1)),
        ({"jobs": 9}, "ray", ResourceRequest(9, 1)),
        ({"timeout": 5.0}, "ray", ResourceRequest(1, 4, timeout=5.0)),
        ({"gpus": 0.5, "jobs": 2}, "ray", ResourceRequest(2, 2, gpus=0.5)),
        ({"address": "head:6379"}, "ray", ResourceRequest(None, 1, "head:6379")),
        ({"address": "head:6379", "jobs": 8}, "ray", ResourceRequest(8, 1, "head:6379")),
        ({"executor": "toy", "jobs": 2}, "toy", ResourceRequest(2, 2)),
    ],
)
def test_what_is_needed_chooses(asked: dict[str, Any], name: str, wanted: ResourceRequest) -> None:
    chosen = choose(RunOptions(**asked), None, "cpu", ALL)
    assert (chosen.name, chosen.request) == (name, wanted)


def test_threads_as_given() -> None:
    assert choose(RunOptions(jobs=2), 3, "cpu", ALL).request.threads == 3


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"executor": "rey"}, "unknown executor 'rey'; did you mean 'ray'"),
        ({"executor": "serial", "jobs": 2}, "executor 'serial' does not support -j; leave --executor out"),
        ({"executor": "serial", "timeout": 1.0, "gpus": 1.0}, "does not support --gpus-per-cell, --timeout"),
        ({"executor": "toy", "timeout": 1.0}, "executor 'toy' does not support --timeout"),
        ({"jobs": 0}, "-j 0"),
        ({"retries": -1}, "--retries -1"),
        ({"gpus": -1.0}, "--gpus-per-cell -1"),
        ({"gpus": float("nan")}, "--gpus-per-cell nan"),
        ({"gpus": 1.5}, "only whole GPUs"),
        ({"timeout": 0.0}, "--timeout 0"),
    ],
)
def test_what_is_refused(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(SuiteError) as caught:
        choose(RunOptions(**asked), None, "cpu", ALL)
    assert words in str(caught.value)


def test_several_processes_and_a_gpu_need_a_share() -> None:
    with pytest.raises(SuiteError, match="--gpus-per-cell 1"):
        choose(RunOptions(jobs=2), None, "cuda", ALL)
    assert choose(RunOptions(jobs=2, gpus=0.5), None, "cuda", ALL).request.gpus == 0.5
    assert choose(RunOptions(), None, "cuda", ALL).name == "serial"


@pytest.mark.parametrize("asked", [{"jobs": 2}, {"timeout": 60.0}, {"address": "a:1"}, {"executor": "ray"}])
def test_without_ray_the_remedy_is_named(without_ray: Registry, asked: dict[str, Any]) -> None:
    with pytest.raises(SuiteError, match=r'pip install "fusionbench\[ray\]"'):
        choose(RunOptions(**asked), None, "cpu", without_ray)


def test_without_ray_everything_else_works(without_ray: Registry) -> None:
    assert choose(RunOptions(), None, "cpu", without_ray).name == "serial"
    assert choose(RunOptions(executor="toy", jobs=2), None, "cpu", without_ray).name == "toy"


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("1h30m", 5400), ("0.5h", 1800)]
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["abc", "", "1d", "h", "1h1h", "-5", "1 h", "1h abc", "5ms", "inf", "nan"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SuiteError, match="write a time such as 90s, 15m or 1h30m"):
        seconds(text)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_an_error(text: str) -> None:
    try:
        found = seconds(text)
    except FusionBenchError:
        return
    assert found >= 0


def node(cpu: float, gpu: float = 0.0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpu, "GPU": gpu}}


@pytest.mark.parametrize(
    ("wanted", "has", "expected"),
    [
        (ResourceRequest(threads=2), node(5), 2),
        (ResourceRequest(threads=8), node(5), 0),
        (ResourceRequest(), node(5, alive=False), 0),
        (ResourceRequest(gpus=0.5), node(5, 1), 2),
        (ResourceRequest(gpus=0.1), node(64, 1), 10),
        (ResourceRequest(gpus=1), node(5), 0),
        (ResourceRequest(gpus=2), node(5, 3), 1),
        (ResourceRequest(), {"Alive": True, "Resources": {}}, 0),
    ],
)
def test_cells_that_fit_on_a_machine(wanted: ResourceRequest, has: dict[str, Any], expected: int) -> None:
    assert fits(wanted, has) == expected


@pytest.mark.parametrize(
    ("native", "words"),
    [
        (
            b"RPC error: InvalidAuthToken: missing or incorrect",
            "asks for a token, and this machine has",
        ),
        (b"some warning", r"the cluster cannot be joined \(Failed to connect\); start one with: ray start --head"),
    ],
)
def test_why_a_cluster_cannot_be_joined(
    native: bytes, words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ray says it below Python, a line a second; the answer is one line, and standard error is there again after it."""

    def init(**given: Any) -> None:
        os.write(2, native + b"\n")
        raise ConnectionError("Failed to connect\nand more")

    names = {"is_initialized": lambda: False, "shutdown": lambda: None}
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, **names))
    with socket.create_server(("127.0.0.1", 0)) as server:
        request = ResourceRequest(address=f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(SuiteError, match=words), cluster(request):
            pass
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


def test_what_no_machine_has_is_refused_with_what_they_have() -> None:
    nodes = [node(4), node(16, 1), node(64, 8, alive=False)]
    check(ResourceRequest(threads=16, gpus=1), nodes)
    on_cluster = ResourceRequest(address="head:6379")
    with pytest.raises(SuiteError, match="--threads 17: a cell cannot have that, the largest of 2 machines has 16 CPU"):
        check(replace(on_cluster, threads=17), nodes)
    with pytest.raises(
        SuiteError, match=r"--gpus-per-cell 2: a cell cannot have that, this machine has 4 CPU .* 0 GPUs"
    ):
        check(ResourceRequest(gpus=2), nodes[:1])


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize(
    ("folder", "words"),
    [
        (f"/scratch/{'a' * 60}", "69 bytes are too long for the sockets"),
        (f"/scratch/{'ä' * 30}", "69 bytes are too long for the sockets"),
        ("/scratch/müller", "no letters beyond ASCII"),
    ],
)
def test_a_folder_that_ray_cannot_use_is_named_with_what_to_set(
    monkeypatch: pytest.MonkeyPatch, variable: str, folder: str, words: str
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")
    check_temporary_folder()
    monkeypatch.setenv(variable, folder)
    with pytest.raises(SuiteError, match=rf"{variable}={folder}: .*{words}.*; set RAY_TMPDIR to another folder"):
        check_temporary_folder()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check_temporary_folder()


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Joins a cluster, whose Ray does what is given when it is started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        request = ResourceRequest(address=f"127.0.0.1:{server.getsockname()[1]}")

        def join(init: Callable[[], None]) -> None:
            names = {"is_initialized": lambda: False, "nodes": lambda: [node(4)], "shutdown": lambda: None}
            monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=lambda **given: init(), **names))
            with cluster(request):
                pass

        yield join


def test_ray_is_started_from_the_root_folder(
    joined: Callable[[Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It puts the driver's working directory before the standard library in its workers."""
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "plugins")
    joined(lambda: seen.append((Path.cwd(), os.environ["PYTHONPATH"])))
    assert seen == [(Path("/"), str(tmp_path / "plugins"))]
    assert (Path.cwd(), os.environ["PYTHONPATH"]) == (tmp_path, "plugins")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_ray_starts_is_obeyed_once_it_has_started(
    joined: Callable[[Callable[[], None]], None], number: signal.Signals
) -> None:
    """Ray does not start in the main thread, which it would give a handler that ends the process without a word."""
    events: list[object] = []

    def start() -> None:
        assert threading.current_thread() is not threading.main_thread()
        for _ in range(2):
            os.kill(os.getpid(), number)
            time.sleep(0.05)
        events.append("started")

    before = signal.signal(number, lambda number, frame: events.append(number))
    try:
        joined(start)
        assert events == ["started", number]
        signal.raise_signal(number)
        assert events == ["started", number, number]
        signal.signal(number, signal.SIG_IGN)
        joined(start)
        assert events == ["started", number, number, "started"]
    finally:
        signal.signal(number, before)
