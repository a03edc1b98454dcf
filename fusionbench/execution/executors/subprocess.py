"""A task in a process of its own, watched from outside: what ends that process is a reason, not the end of the run.

    watcher (this process) --- nursery: has imported everything, forks --- child: runs tasks until it dies

The nursery is why a child that was killed is there again at once, torch and the plugins being imported only once. It
ends its child when the watcher is gone. Nothing heavy is imported here.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from fusionbench.core.errors import PluginError
from fusionbench.core.interfaces import Lost
from fusionbench.execution.retry import ending

GPUS = "CUDA_VISIBLE_DEVICES"
WIDTH = 16
"""Characters of a message of the nursery: one number, so that two that arrive together can be told apart."""
_VMSTAT = Path("/proc/vmstat")


class Supervised:
    """A child that runs pickled tasks, one at a time; another takes its place when it dies."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "fusionbench.execution.executors.nursery", str(theirs.fileno())]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._nursery = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=env, start_new_session=True)
        theirs.close()
        self._line = ours
        self.gpus = os.environ.get(GPUS)
        self._pid, self._child = self._next_child()

    def run(self, packed: bytes, timeout: float | None = None) -> bytes | Lost:
        """What came of a pickled (work, task), pickled: see `unpacked`.

        Args:
            timeout: seconds after which the child is killed.
        """
        if self._child.poll():  # nobody asked it anything, so this is its end: it died after its last task
            self._bury()
        kills = _killed_for_memory()
        began = time.monotonic()
        try:
            self._child.send_bytes(packed)
            if self._child.poll(timeout):
                return self._child.recv_bytes()
            os.kill(self._pid, signal.SIGKILL)
            reason = f"stopped after {time.monotonic() - began:.0f} s (--timeout)"
            self._bury()
        except (EOFError, OSError):  # the child is gone
            code = self._bury()
            for_memory = code == -signal.SIGKILL and _killed_for_memory() > kills
            reason = "out of memory: killed by the system" if for_memory else ending(code)
        return Lost(reason)

    def close(self) -> None:
        self._child.close()
        self._line.close()
        self._nursery.wait()

    def _bury(self) -> int:
        """The child's exit code; the next child is there afterwards."""
        self._child.close()
        code = int(self._heard()[0])
        self._pid, self._child = self._next_child()
        return code

    def _next_child(self) -> tuple[int, Connection]:
        pid, handles = self._heard()
        return int(pid), Connection(handles[0])

    def _heard(self) -> tuple[str, list[int]]:
        message, handles, _, _ = socket.recv_fds(self._line, WIDTH, 1)
        if not message:
            code = self._nursery.wait()
            raise PluginError(f"a process for cells could not be started ({ending(code)}); its words are in Ray's logs")
        return message.decode(), handles


def packed(work: Any, task: Any) -> bytes:
    return pickle.dumps((work, task))


def unpacked(reply: bytes) -> Any:
    """What the work returned.

    Raises:
        whatever the work raised.
    """
    how, value = pickle.loads(reply)
    if how == "raised":
        raise value
    return value


def answer(request: bytes) -> bytes:
    """The child's side: runs the task and packs what came of it."""
    how: Literal["done", "raised"] = "done"
    try:
        work, task = pickle.loads(request)
        value = work(task)
    except Exception as error:  # noqa: BLE001 - raised again where the run is
        how, value = "raised", error
    try:
        return pickle.dumps((how, value))
    except Exception as error:  # noqa: BLE001 - a stranger's class that cannot be sent
        return pickle.dumps(("raised", PluginError(f"{value!r} cannot be sent to another process: {error}")))


_mine: Supervised | None = None


def run_here(request: bytes, timeout: float | None) -> bytes | Lost:
    """Run a packed task in this process's child, which is made where there is none that sees the same GPUs."""
    global _mine
    if _mine is not None and _mine.gpus != os.environ.get(GPUS):
        _mine.close()
        _mine = None
    if _mine is None:
        _mine = Supervised()
    return _mine.run(request, timeout)


def _killed_for_memory() -> int:
    """Processes that this system has killed for memory so far; 0 where it does not say."""
    try:
        counts = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))
