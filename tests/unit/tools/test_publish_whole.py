"""The published folder is whole at every moment: killed anywhere, out of disk, twice at once, behind a link."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fusionbench import discover
from fusionbench.core.errors import ResultsError
from fusionbench.results import replace_folder
from fusionbench.results.audit_verdict import Audit
from fusionbench.results.cell_files import sha256
from fusionbench.results.manifest import MANIFEST, manifest_agrees
from fusionbench.results.run_lock import hold
from fusionbench.results.store import Store
from fusionbench.session import Session
from fusionbench.suites.cell import Plan
from fusionbench.tools.publish import FILES, copy_published
from tests.full_disk import full_disk

SUITE = """
title = "Mine"
datasets = ["synthetic[cases=80]"]
models = ["cox"]
modalities = [["vector"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
"""
AUDIT = Audit("mine", ())
Run = tuple[Plan, Store]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("publish")
    (root / "mine.toml").write_text(SUITE)
    session = Session(out=root / "results", device="cpu", registry=discover())
    assert session.run(str(root / "mine.toml"), track=False).complete
    for name in ("audit.json", "report.html"):  # what `publish` writes before it copies
        (root / "results/mine" / name).write_text("{}")
    return root


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Run:
    """A copy of the run that was published once, from whose published folder the new one differs in every file."""
    root = Path(shutil.copytree(original, tmp_path / "copy"))
    plan, store = Session(out=root / "results", device="cpu", registry=discover()).as_run(str(root / "mine.toml"))
    old = copy_published(plan, store, AUDIT, "old")
    (old / "figures").mkdir()  # `report` writes figures there
    (old / "figures" / "x.png").write_text("x")
    return plan, store


def published(store: Store) -> Path:
    return store.root / "published" / "mine"


def which(folder: Path) -> str:
    """`old` or `new`: the command of a published folder all of whose files are there."""
    assert manifest_agrees(folder).verdict == "pass"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {*FILES, "run.toml", MANIFEST}
    text = (folder / "run.toml").read_text()
    return "old" if 'command = "old"' in text else "new"


CHANGES = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "ctypes.dlsym"}
"""Audit events of operations on files; `ctypes.dlsym` comes just before two names are exchanged."""


def killed_at(step: int, run: Run) -> bool:
    """Publish in a process that is killed before its operation number `step`; False where it had fewer."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    count = 0

    def look(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event in CHANGES and (event != "open" or "w" in str(args[1])):
            count += 1
            if count == step:
                os._exit(9)  # no handler and no `finally` runs, as with SIGKILL

    sys.addaudithook(look)
    copy_published(*run, AUDIT, "new")
    os._exit(0)


@pytest.mark.parametrize("exchanging", [True, False])
def test_a_publish_that_is_killed_at_any_step_loses_nothing(
    run: Run, monkeypatch: pytest.MonkeyPatch, exchanging: bool
) -> None:
    if not exchanging:
        monkeypatch.setattr(replace_folder, "_exchanged", lambda one, other: False)
    target, seen, step = published(run[1]), [], 0
    backup = Path(shutil.copytree(target, target.parents[2] / "backup"))
    while killed_at(step := step + 1, run):
        if not exchanging and not target.exists():
            replace_folder.put_back(target)  # what the next publish begins with
        seen.append(which(target))
        if seen[-1] == "new":
            shutil.rmtree(target)
            shutil.copytree(backup, target)
    assert {"old", "new"} == set(seen)
    assert len(seen) > 2 * len(FILES), "every file was a step, and so was the removal of the old ones"
    assert which(target) == "new"
    assert [path.name for path in target.parent.iterdir()] == ["mine"], "what the killed ones left is removed"


def test_an_error_at_any_step_leaves_the_old_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    target = published(run[1])
    for name in (
        "shutil.copyfile",
        "fusionbench.tools.publish.write_manifest",
        "fusionbench.tools.publish.sync_folder",
    ):
        with monkeypatch.context() as patched:
            patched.setattr(name, _full)
            with pytest.raises(ResultsError, match=r"not published; what was there stays: .*No space left on device"):
                copy_published(*run, AUDIT, "new")
        assert which(target) == "old"
        assert [path.name for path in target.parent.iterdir()] == ["mine"]


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_old_folder(run: Run) -> None:
    with full_disk(1000), pytest.raises(ResultsError, match="not published; what was there stays"):
        copy_published(*run, AUDIT, "new")
    assert which(published(run[1])) == "old"


@pytest.fixture(params=[0o022, 0o027, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_modes_are_those_that_umask_gives(run: Run, umask: int) -> None:
    folder = copy_published(*run, AUDIT, "new")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~umask}


def test_only_one_process_publishes_or_runs_a_suite(run: Run) -> None:
    store = run[1]
    session = Session(out=store.root, device="cpu", registry=discover())
    before = sha256(store.folder / "table.md")
    with hold(store.folder), pytest.raises(ResultsError, match="is being computed by process"):
        session.publish(str(store.root.parent / "mine.toml"))
    assert which(published(store)) == "old"
    assert sha256(store.folder / "table.md") == before


def test_a_link_stays_a_link(run: Run, tmp_path: Path) -> None:
    """Also to a folder on another file system."""
    target, elsewhere = published(run[1]), tmp_path / "elsewhere"
    shutil.move(target, elsewhere)
    target.symlink_to(elsewhere)
    assert copy_published(*run, AUDIT, "new") == target
    assert target.is_symlink()
    assert which(elsewhere) == "new"
    target.unlink()
    target.symlink_to(tmp_path / "not there yet")
    copy_published(*run, AUDIT, "new")
    assert which(tmp_path / "not there yet") == "new"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_the_published_folder_of_another_file_system(run: Run) -> None:
    folder = published(run[1]).parent
    place = Path("/dev/shm") / f"fusionbench-test-{os.getpid()}"
    try:
        shutil.move(folder, place)
        folder.symlink_to(place)
        copy_published(*run, AUDIT, "new")
        assert which(place / "mine") == "new"
        assert [path.name for path in place.iterdir()] == ["mine"]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_a_file_in_the_way_is_named(run: Run) -> None:
    target = published(run[1])
    shutil.rmtree(target)
    target.write_text("mine")
    with pytest.raises(ResultsError, match="a file lies where the published folder goes; move it away"):
        copy_published(*run, AUDIT, "new")
    assert target.read_text() == "mine"


def test_an_older_interrupted_publish_of_another_suite_is_left_alone(run: Run) -> None:
    other = published(run[1]).with_name(".tmp-1-not-mine")
    other.mkdir()
    copy_published(*run, AUDIT, "new")
    assert other.is_dir()
