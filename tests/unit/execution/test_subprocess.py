"""A watched process: what comes back, what it died of, that the next is there, and that nobody is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from fusionbench.core.errors import PluginError
from fusionbench.core.executor import LostTask
from fusionbench.execution.executors.subprocess import ChildProcess, pack_call, unpack_reply
from tests.faults.watching import gone


@pytest.fixture(scope="module")
def child() -> Iterator[ChildProcess]:
    process = ChildProcess()
    yield process
    process.close()


def square(task: int) -> int:
    return task * task


def pid_of(_: object) -> int:
    return os.getpid()


def with_a_child(task: tuple[Path, str]) -> Any:
    """Start a process, as a data loader does; write both numbers to a file, then fail."""
    pids, how = task
    worker = os.fork()
    if worker == 0:
        time.sleep(3600)
    pids.write_text(f"{os.getpid()} {worker}")
    return fail(how)


def fail(how: Any) -> Any:
    if how == "exit":
        os._exit(3)
    if how == "crash":
        ctypes.string_at(0)
    if how == "hang":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        time.sleep(3600)
    if how == "lock":  # as compiled code that keeps the interpreter's lock: no thread of the process runs
        ctypes.PyDLL(None).sleep(3600)
    if how == "later":
        threading.Timer(0.2, os._exit, (5,)).start()
        return "done"
    if how == "unsendable":
        return threading.Lock()
    if isinstance(how, int):
        os.kill(os.getpid(), how)
    raise KeyError(how)


def ask(child: ChildProcess, work: Any, task: Any, timeout: float | None = None) -> Any:
    reply = child.run(pack_call(work, task), timeout)
    return reply if isinstance(reply, LostTask) else unpack_reply(reply)


def test_a_task_comes_back_from_another_process(child: ChildProcess) -> None:
    assert ask(child, square, 7) == 49
    assert ask(child, pid_of, None) == child._process.pid != os.getpid()


def test_one_process_runs_one_task_after_the_other(child: ChildProcess) -> None:
    assert len({ask(child, pid_of, None) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (int(signal.SIGKILL), "killed: SIGKILL"),
        (int(signal.SIGTERM), "killed: SIGTERM"),
        ("crash", "crashed: SIGSEGV"),
        ("exit", "its process ended with exit status 3"),
    ],
)
def test_its_death_is_a_reason_and_the_next_is_there_at_once(child: ChildProcess, how: Any, reason: str) -> None:
    assert ask(child, fail, how) == LostTask(reason)
    began = time.monotonic()
    assert ask(child, square, 3) == 9
    assert time.monotonic() - began < 5, "importing everything again takes longer"


def test_a_process_that_hangs_is_killed(child: ChildProcess) -> None:
    hanging = ask(child, pid_of, None)
    began = time.monotonic()
    assert ask(child, fail, "hang", 1.0) == LostTask("stopped after 1 s (--timeout)")
    assert time.monotonic() - began < 10
    assert not psutil.pid_exists(hanging)
    assert ask(child, square, 3) == 9


def test_a_death_between_two_tasks_is_not_the_next_ones(child: ChildProcess) -> None:
    assert ask(child, fail, "later") == "done"
    time.sleep(1)
    assert ask(child, square, 4) == 16


def test_what_the_work_raises_is_raised(child: ChildProcess) -> None:
    with pytest.raises(KeyError, match="odd"):
        ask(child, fail, "odd")
    with pytest.raises(PluginError, match="cannot be sent to another process"):
        ask(child, fail, "unsendable")


def test_large_messages(child: ChildProcess) -> None:
    assert len(ask(child, bytes, 2**26)) == 2**26
    assert ask(child, len, b"x" * 2**26) == 2**26


def test_what_a_task_has_started_ends_with_its_process(child: ChildProcess, tmp_path: Path) -> None:
    task = tmp_path / "pids", "exit"
    assert ask(child, with_a_child, task) == LostTask("its process ended with exit status 3")
    assert gone([int(word) for word in (tmp_path / "pids").read_text().split()])


def test_a_process_is_closed_in_the_middle_of_a_task() -> None:
    """As an interrupt does it."""
    with closing(ChildProcess()) as busy:
        pid = ask(busy, pid_of, None)
        busy._connection.send_bytes(pack_call(fail, "lock"))
        time.sleep(0.5)
    assert gone([pid])


WATCHER = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from fusionbench.execution.executors.subprocess import ChildProcess, pack_call
from tests.unit.execution.test_subprocess import with_a_child
ChildProcess().run(pack_call(with_a_child, (Path({pids!r}), "lock")))
"""


def test_nobody_is_left_when_the_watcher_is_killed(tmp_path: Path) -> None:
    """Whatever its child is doing, and what that has started."""
    pids, root = tmp_path / "pids", str(Path(__file__).parents[3])
    with subprocess.Popen([sys.executable, "-c", WATCHER.format(root=root, pids=str(pids))]) as watcher:
        until = time.monotonic() + 60
        while not pids.exists() or len(pids.read_text().split()) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        time.sleep(0.5)
        everyone = [process.pid for process in psutil.Process(watcher.pid).children(recursive=True)]
        assert {int(word) for word in pids.read_text().split()} < set(everyone)
        watcher.kill()
    assert gone(everyone)
