"""A model restored and fitted in another process, which is started early: its imports run beside the first checks."""

from __future__ import annotations

import atexit
import os
import pickle
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from fusionbench.execution.fit_context import Context
from fusionbench.testing.conformance.written import changed, files_of_plugin
from fusionbench.testing.other_process import EMPTY, Lent, Reply, Request


def lent_by(context: Context) -> Lent:
    """The plain values of a context."""
    own = context.task, context.specs, context.seed, context.recipe, context.members
    return Lent(*own, context.preparations)


def start() -> None:
    """Start the worker process, unless it runs; it imports while this process goes on."""
    _worker()


def ask(request: Request) -> Reply:
    """Have a request answered by a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for empty in (*EMPTY, "tmp"):
            (folder / empty).mkdir()
        # Paths first: the model's module has to be found before it is unpickled.
        paths = [str(Path(path).absolute()) for path in sys.path]
        (folder / "request.pkl").write_bytes(pickle.dumps(paths) + pickle.dumps(request))
        before = files_of_plugin(type(request.model))
        worker = _worker()
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(f"{folder}\n")
        worker.stdin.flush()
        worker.stdout.readline()
        answer = folder / "reply.pkl"
        if not answer.exists():
            return Reply(error="the process ended without an answer")
        reply: Reply = pickle.loads(answer.read_bytes())
        inside = sorted(f"{part}/{path.name}" for part in EMPTY for path in (folder / part).iterdir())
        reply.written = [*inside, *changed(before, files_of_plugin(type(request.model)))]
        return reply


@cache
def _worker() -> subprocess.Popen[str]:
    ours, theirs = os.pipe()  # nobody writes there: its end is the end of this process
    code = f"from fusionbench.testing.other_process import serve; serve({ours})"
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", code],  # -P: no module from the working directory
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
        pass_fds=[ours],
    )
    os.close(ours)
    atexit.register(_end, worker, theirs)
    return worker


def _end(worker: subprocess.Popen[str], pipe: int) -> None:
    os.close(pipe)  # with the worker end the processes that it has forked
    worker.kill()
    worker.communicate()
