"""Markers of cells that were begun: what a later run, or another process, reads of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.results.attempts import Attempts, Started, Tried


@pytest.fixture
def attempts(tmp_path: Path) -> Attempts:
    return Attempts(tmp_path)


def test_nothing_was_begun(attempts: Attempts) -> None:
    assert attempts.of("abc") == Tried()
    assert attempts.all() == {}
    attempts.finish("abc")


def test_an_attempt_is_running_until_its_result_is_stored(attempts: Attempts) -> None:
    attempts.start("abc", in_driver=False)
    running = attempts.of("abc").running
    assert running is not None
    assert (running.pid, running.in_driver) == (os.getpid(), False)
    assert attempts.all() == {"abc": Tried((), running)}
    attempts.finish("abc")
    assert attempts.all() == {}


def test_lost_attempts_are_counted_with_their_reasons(attempts: Attempts) -> None:
    for reason in ("killed by SIGKILL", "no answer after 5 s"):
        attempts.start("abc", in_driver=True)
        attempts.lose("abc", reason)
    assert attempts.of("abc") == Tried(("killed by SIGKILL", "no answer after 5 s"))
    attempts.start("abc", in_driver=True)
    assert len(attempts.of("abc").ended) == 2


def test_an_interrupted_attempt_does_not_count(attempts: Attempts) -> None:
    attempts.start("abc", in_driver=True)
    attempts.drop("abc")
    assert attempts.all() == {}
    attempts.start("abc", in_driver=True)
    attempts.lose("abc", "killed")
    attempts.start("abc", in_driver=True)
    attempts.drop("abc")
    assert attempts.of("abc") == Tried(("killed",))


def test_interrupted_while_it_writes_a_marker_leaves_nothing(
    attempts: Attempts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> None:
        assert self.is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        attempts.start("abc", in_driver=True)
    assert not list((tmp_path / "attempts").iterdir())


BEGIN_AND_DIE = """
import os, signal, sys
from pathlib import Path
from fusionbench.results.attempts import Attempts
Attempts(Path(sys.argv[1])).start("abc", in_driver=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_its_marker(attempts: Attempts, tmp_path: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", BEGIN_AND_DIE, str(tmp_path)])
    assert done.wait() == -signal.SIGKILL
    running = attempts.of("abc").running
    assert running is not None
    assert running.pid == done.pid
    assert running.in_driver


def test_the_file_is_what_the_module_says(attempts: Attempts, tmp_path: Path) -> None:
    attempts.start("abc", in_driver=True)
    stored = json.loads((tmp_path / "attempts/abc.json").read_text())
    assert stored["ended"] == []
    assert Started(**stored["running"]) == attempts.of("abc").running


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"ended": [], "running": {"pid": 1}}', '{"ended": 3}'])
def test_a_damaged_marker_is_named(attempts: Attempts, tmp_path: Path, content: str) -> None:
    attempts.start("abc", in_driver=True)
    (tmp_path / "attempts/abc.json").write_text(content)
    with pytest.raises(ResultsError, match=r"attempts/abc\.json: cannot be read .*; remove it"):
        attempts.of("abc")


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "attempts").write_text("a file")
    with pytest.raises(ResultsError, match=r"attempts/abc\.json.*Not a directory"):
        Attempts(tmp_path).start("abc", in_driver=True)
