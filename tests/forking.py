"""Commands in processes of their own that need not import everything first: they are forked from one that has."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


@cache
def server() -> Any:
    """Forks processes; a start of Python with torch and scikit-survival would take seconds each time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    return context


def usual_signals() -> None:
    """As a terminal has them: a shell's background job ignores a Ctrl-C, and what `nohup` starts a hang-up."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _main(args: Sequence[str], folder: str, env: Mapping[str, str], out: str, err: str) -> None:
    """`fusionbench ARGS` in this process, which has just been forked."""
    usual_signals()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:0] = env["PYTHONPATH"].split(os.pathsep)
    sys.argv = ["fusionbench", *args]
    for number, path in ((1, out), (2, err)):
        with open(path, "a") as file:
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    from fusionbench.cli import main

    main()


class Forked:
    """`fusionbench ARGS`, with what of `Popen` is used here; what it prints is added to the files `out` and `err`."""

    def __init__(self, args: Sequence[str], folder: Path, env: Mapping[str, str], out: Path, err: Path) -> None:
        places = (str(path.absolute()) for path in (out, err))
        self._process = server().Process(target=_main, args=(tuple(args), str(folder), dict(env), *places))
        self._process.start()
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def wait(self, timeout: float) -> int:
        """Its exit status; a process that takes longer is killed.

        Raises:
            TimeoutError
        """
        self._process.join(timeout)
        if (code := self.poll()) is None:
            self._process.kill()
            raise TimeoutError(f"process {self.pid} has not ended after {timeout:g} s")
        return code


def child(work: Callable[[], object]) -> int:
    """The number of a process that does `work` with everything that this one has loaded.

    It ends with status 0, with that of `sys.exit`, with 130 after a Ctrl-C, with 1 after another error.
    """
    if pid := os.fork():
        return pid
    code = 1
    try:
        usual_signals()
        work()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except SystemExit as ended:
        code = int(str(ended.code or 0))
    finally:
        os._exit(code)


def status(pid: int) -> int:
    """How a `child` has ended; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
