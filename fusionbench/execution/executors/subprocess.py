"""A task in a child process that is watched: what ends the child is a reason, not the end of the run.

The child is forked by multiprocessing's fork server, which has imported what tasks need, so that a child that was
killed is replaced at once. Nothing heavy is imported here.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import signal
import time
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from fusionbench.core.child_process import SAFE_PATH, end_with_parent, safe_import_path
from fusionbench.core.errors import PluginError
from fusionbench.core.executor import LostTask
from fusionbench.execution.retry import ending

GPUS = "CUDA_VISIBLE_DEVICES"
_VMSTAT = Path("/proc/vmstat")


@cache
def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # With __main__, which each child would else import by itself: Ray's takes seconds.
    context.set_forkserver_preload(["__main__", "fusionbench.execution.executors.preload"])
    return context


class ChildProcess:
    """A child that runs pickled tasks, one at a time; another takes its place when it dies.

    Attributes:
        gpus: the GPUs that the child sees, as in CUDA_VISIBLE_DEVICES; None = all.
    """

    def __init__(self) -> None:
        self.gpus = os.environ.get(GPUS)
        self._start()
        # Not a daemon: those may have no children, which a model may want. So it is ended before multiprocessing,
        # whose own exit handler was registered earlier and runs later, waits for it.
        atexit.register(self.close)

    def run(self, request: bytes, timeout: float | None = None) -> bytes | LostTask:
        """The reply to a packed call: see `pack_call` and `unpack_reply`.

        Args:
            timeout: seconds after which the child is killed; None = never.
        """
        if not self._process.is_alive():  # it died after its last task
            self._replace()
        kills = _killed_for_memory()
        began = time.monotonic()
        try:
            self._connection.send_bytes(request)
            if self._connection.poll(timeout):
                return self._connection.recv_bytes()
            self._process.kill()
            self._replace()
            return LostTask(f"stopped after {time.monotonic() - began:.0f} s (--timeout)")
        except (EOFError, OSError):  # the child is gone
            code = self._replace()
            for_memory = code == -signal.SIGKILL and _killed_for_memory() > kills
            return LostTask("out of memory: killed by the system" if for_memory else ending(code))

    def close(self) -> None:
        """End the child, also in the middle of a task: whoever closes it does not wait for a reply any more."""
        atexit.unregister(self.close)
        self._connection.close()
        self._process.kill()
        self._process.join()

    def _start(self) -> None:
        self._connection, theirs = _context().Pipe()
        safe = SAFE_PATH in os.environ
        self._process = _context().Process(target=_serve, args=(theirs, self.gpus, safe))
        with safe_import_path():  # for the fork server, which starts with the first child
            self._process.start()
        theirs.close()  # else the end of the child would not be seen

    def _replace(self) -> int:
        """Start the next child; returns the exit code of the one before."""
        self._connection.close()
        self._process.join()
        code = self._process.exitcode
        self._start()
        return code or 0


def _serve(connection: Connection, gpus: str | None, safe: bool) -> None:
    """In the child: answer one request after the other until the parent is gone.

    Args:
        safe: the parent has been told itself to leave out the working directory, and with it what a plugin starts.
    """
    end_with_parent()
    if not safe:
        os.environ.pop(SAFE_PATH, None)
    if gpus is None:
        os.environ.pop(GPUS, None)
    else:
        os.environ[GPUS] = gpus  # the fork server may have been started with others; CUDA reads this when first used
    try:
        while True:
            connection.send_bytes(answer_request(connection.recv_bytes()))
    except (EOFError, OSError):
        return


def pack_call(run_task: Any, task: Any) -> bytes:
    """A call of `run_task` with `task` as a message."""
    return pickle.dumps((run_task, task))


def unpack_reply(reply: bytes) -> Any:
    """What the packed call returned.

    Raises:
        whatever the packed call raised.
    """
    how, value = pickle.loads(reply)
    if how == "raised":
        raise value
    return value


def answer_request(request: bytes) -> bytes:
    """In the child: run a packed call, and pack what it returned or raised."""
    how: Literal["done", "raised"] = "done"
    try:
        run_task, task = pickle.loads(request)
        value = run_task(task)
    except Exception as error:  # noqa: BLE001 - raised again where the run is
        how, value = "raised", error
    try:
        return pickle.dumps((how, value))
    except Exception as error:  # noqa: BLE001 - a class of a third party that cannot be sent
        return pickle.dumps(("raised", PluginError(f"{value!r} cannot be sent to another process: {error}")))


_child: ChildProcess | None = None


def run_in_child(request: bytes, timeout: float | None) -> bytes | LostTask:
    """Run a packed call in the child of this process; the child is started where none sees the same GPUs."""
    global _child
    if _child is not None and _child.gpus != os.environ.get(GPUS):
        _child.close()
        _child = None
    if _child is None:
        _child = ChildProcess()
    return _child.run(request, timeout)


def _killed_for_memory() -> int:
    """Processes that this system has killed for memory so far; 0 where it does not say."""
    try:
        counts = dict(line.split() for line in _VMSTAT.read_text().splitlines())
    except OSError:
        return 0
    return int(counts.get("oom_kill", 0))
