"""What a cell takes of its process, and which code it ran."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fusionbench.core import environment
from fusionbench.execution.resource_samples import Meter


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_short_block_has_one_sample_of_its_own_cpu_and_memory() -> None:
    busy(0.1)
    with Meter(interval=1000) as meter:
        busy(0.2)
    ((seconds, cpu, mib),) = meter.record()
    assert 0.2 <= cpu < 2.0
    assert seconds >= 0.19
    assert 10 < mib < 100_000
    assert json.loads(json.dumps(meter.record())) == meter.record()


def test_samples_stay_few_in_order_and_evenly_spread_however_long_it_takes() -> None:
    with Meter(interval=0.005, most=8) as meter:
        time.sleep(0.6)
    seconds = [s for s, _, _ in meter.samples]
    assert 3 <= len(seconds) <= 8
    assert seconds == sorted(seconds)
    assert seconds[-1] >= 0.6
    cpu = [c for _, c, _ in meter.samples]
    assert cpu == sorted(cpu)


def test_thinning_keeps_the_higher_memory_and_the_later_time() -> None:
    meter = Meter(most=4)
    meter.samples = [(1.0, 0.5, 10.0), (2.0, 0.6, 9.0), (3.0, 0.7, 1.0), (4.0, 0.8, 2.0)]
    meter._thin()
    assert meter.samples == [(2.0, 0.6, 10.0), (4.0, 0.8, 2.0)]


def test_the_thread_ends_with_the_block_also_by_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), Meter(interval=1000) as meter:
        raise KeyboardInterrupt
    assert len(meter.samples) == 1
    assert "meter" not in {thread.name for thread in threading.enumerate()}


def checkout(folder: Path) -> Path:
    """The module `environment` in a checkout of its own."""
    package = folder / "fusionbench" / "core"
    package.mkdir(parents=True)
    (package / "environment.py").write_text(Path(environment.__file__).read_text(encoding="utf-8"))
    return package


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", *who, *command], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit_of(package: Path) -> str:
    code = "import environment; print(environment.git_commit())"
    done = subprocess.run([sys.executable, "-c", code], cwd=package, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_checkout_and_says_where_code_was_changed(tmp_path: Path) -> None:
    package = checkout(tmp_path / "repo")
    git(tmp_path / "repo", "init")
    git(tmp_path / "repo", "add", ".")
    git(tmp_path / "repo", "commit", "-m", "one")
    head = git(tmp_path / "repo", "rev-parse", "HEAD")
    assert commit_of(package) == head
    (tmp_path / "repo" / "untracked").write_text("")
    assert commit_of(package) == head
    with (package / "environment.py").open("a") as file:
        file.write("\n")
    assert commit_of(package) == f"{head}-dirty"


def test_a_package_below_somebody_else_s_checkout_has_not_its_commit(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "theirs")
    assert commit_of(checkout(tmp_path / "venv" / "site-packages")) != git(tmp_path, "rev-parse", "HEAD")
