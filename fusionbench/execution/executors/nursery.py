"""The nursery of `supervised`: imports once, then forks one child after the other, each when the one before is gone.

It runs nothing itself, so no thread and no GPU is in use when it forks.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from multiprocessing.connection import Connection

from fusionbench.execution.executors.subprocess import WIDTH, answer

_LOOK = 0.05
"""Seconds between two looks at whether the child is gone."""


def main(line: socket.socket) -> None:
    """Until the watcher is gone: fork a child, send its process number and its end of the talk, say how it ended."""
    warm()
    while True:
        theirs, ours = socket.socketpair()
        pid = os.fork()
        if not pid:
            line.close()
            theirs.close()
            serve(Connection(ours.detach()))
        ours.close()
        with theirs:
            socket.send_fds(line, [message(pid)], [theirs.fileno()])
        line.sendall(message(wait(pid, line)))


def message(number: int) -> bytes:
    return str(number).ljust(WIDTH).encode()


def warm() -> None:
    """Import what tasks need, as far as it is installed."""
    from fusionbench.execution.task import installed

    installed()


def serve(talk: Connection) -> None:
    """The child: one task after the other until nobody asks any more."""
    status = 1
    try:
        while True:
            talk.send_bytes(answer(talk.recv_bytes()))
    except (EOFError, OSError):  # the watcher is gone
        status = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # what the nursery has registered for its own end is not the child's to run


def wait(pid: int, line: socket.socket) -> int:
    """The child's exit code; where the watcher is gone first, both end."""
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if select.select([line], [], [], _LOOK)[0]:  # the watcher never writes here: its end is closed
            os.kill(pid, signal.SIGKILL)
            sys.exit()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
