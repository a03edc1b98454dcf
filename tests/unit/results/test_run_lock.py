"""Two processes do not compute the same suite; a dead one holds nothing."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.results import run_lock as holding
from fusionbench.results.run_lock import Holder, hold, holder

HOLD = """
import sys, time
from pathlib import Path
from fusionbench.results.run_lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_second_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        living = holder(tmp_path)
        assert living is not None
        assert living.pid == process.pid
        words = f"is being computed by process {process.pid} on {socket.gethostname()} since 20"
        with pytest.raises(ResultsError, match=words), hold(tmp_path):
            raise AssertionError("two at once")


def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert holder(tmp_path) is None
        with hold(tmp_path) as before:
            assert before is not None
            assert before.pid == process.pid


def test_nobody_holds_it_before_and_afterwards(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    for _ in range(2):
        with hold(tmp_path) as before:
            assert before is None
        assert holder(tmp_path) is None


def test_it_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), hold(tmp_path):
        raise KeyboardInterrupt
    with hold(tmp_path) as before:
        assert before is None


def test_a_damaged_lock_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / holding.NAME).write_text('{"pid": 1')
    assert holder(tmp_path) is None
    with hold(tmp_path) as before:
        assert before is None


def test_looking_on_does_not_keep_a_run_from_starting(tmp_path: Path) -> None:
    path = tmp_path / holding.NAME
    path.write_text("")
    with path.open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Timer(0.3, fcntl.flock, (looked_at, fcntl.LOCK_UN)).start()
        with hold(tmp_path) as before:
            assert before is None


@pytest.mark.parametrize(
    ("found", "free"),
    [
        (Holder(os.getpid(), socket.gethostname(), "then"), False),
        (Holder(2**22 + 1, socket.gethostname(), "then"), True),  # above the largest process number
        (Holder(2**22 + 1, "elsewhere", "then"), False),
    ],
)
def test_where_the_file_system_knows_no_locks_the_words_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: Holder, free: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(holding.fcntl, "flock", refuse)
    (tmp_path / holding.NAME).write_text(holding.json.dumps(holding.asdict(found)))
    if free:
        assert holder(tmp_path) is None
        with hold(tmp_path) as before:
            assert before == found
    else:
        assert holder(tmp_path) == found
        with pytest.raises(ResultsError, match=r"on \S+ since then; .* remove .*run\.lock"), hold(tmp_path):
            raise AssertionError("two at once")


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / holding.NAME).mkdir()
    with pytest.raises(ResultsError, match=r"run\.lock cannot be written"), hold(tmp_path):
        raise AssertionError("held")
