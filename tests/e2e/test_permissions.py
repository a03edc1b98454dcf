"""Other people's files: every verb says in one line which file it may not read or write, and what to do.

All verbs run as another user in one process, over copies of one results root; the tests ask what each of them said.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fusionbench import discover
from fusionbench.results.audit_verdict import Audit
from fusionbench.session import Session
from fusionbench.tools.publish import copy_published
from tests.conftest import Cli, Outcome
from tests.forking import server
from tests.own_cohort import write_cohort

NOBODY = 65534
SUITE = """
title = "Ours"
datasets = ["table[file=data/cohort.toml]"]
models = ["cox", "abmil"]
modalities = [["clinical"], ["slides"]]
metrics = ["harrell_c_index"]
[protocol]
folds = 2
[train]
epochs = 1
"""
COX = "table[file=data/cohort.toml]", "cox", "clinical", "0"
VERBS = {
    "run": ("run", "study.toml", "--no-track"),
    "dry-run": ("run", "study.toml", "--dry-run"),
    "status": ("status", "study.toml"),
    "why": ("why", "study.toml", *COX),
    "why-key": ("why", "KEY"),
    "table": ("table", "study.toml"),
    "report": ("report", "study.toml"),
    "report-to": ("report", "study.toml", "--to", "TO"),
    "report-all-to": ("report", "--all", "--to", "TO"),
    "score": ("score", "study.toml", "--metric", "uno_c_index"),
    "score-to": ("score", "study.toml", "--metric", "uno_c_index", "--to", "TO"),
    "audit": ("audit", "study.toml"),
    "compare": ("compare", "study.toml", "cox", "abmil"),
    "predict": ("predict", "KEY", "data/cohort.toml"),
    "publish": ("publish", "study.toml"),
    "import": ("import", "study.toml", "theirs.csv"),
    "explain": ("explain", "study.toml", "-m", "abmil", "--top-risk", "1"),
    "profile": ("profile", "study.toml", "-m", "abmil"),
    "tune": ("tune", "study.toml", "-m", "cox", "--trials", "1"),
    "sync": ("sync", "study.toml"),
    "doctor": ("doctor", "study.toml"),
    "validate": ("validate", "study.toml"),
    "data-check": ("data", "check", "data/cohort.toml"),
    "published-audit": ("audit", "study.toml", "--out", "results/published"),
    "published-report": ("report", "study.toml", "--out", "results/published"),
}
"""Command lines; KEY is the key of a cell, TO a folder that may be written."""
ALL = tuple(VERBS)
PLANNING = ("run", "dry-run", "status", "why", "audit", "publish", "explain", "profile", "tune", "sync")
"""Verbs that read the suite's file."""
READS_CELL = ("run", "status", "why", "why-key", "audit", "report", "publish", "sync", "predict")
UNREADABLE = {
    "study.toml": (*PLANNING, "validate", "report"),
    "data/cohort.toml": ("run", "data-check", "predict"),
    "data/patients.csv": ("run", "status", "audit", "data-check"),
    "data/features/FEATURES": ("run", "data-check"),
    "results/study/suite.lock.toml": (
        *("status", "why", "audit", "report", "score", "compare", "publish", "sync", "doctor", "import", "explain"),
    ),
    "results/study/cells/KEY/cell.json": READS_CELL,
    "results/study/cells/KEY/predictions.parquet": ("run", "status", "audit", "predict"),
    "results/study/cells/KEY/model.safetensors": ("run", "predict"),
    "results/study/cells/KEY": ("run", "status", "why-key", "report", "predict"),
    "results/study/cells": ("run", "status", "why-key", "audit", "predict", "explain"),
    "results/study": tuple(v for v in ALL if v not in ("dry-run", "validate", "data-check", "profile"))[:-2],
    "results": ("status", "table", "report-all-to", "why-key", "predict", "sync"),
    "results/study/table.md": ("table",),
    "results/study/folds.csv": ("report", "score", "compare"),
    "results/study/predictions.parquet": ("import",),
    "theirs.csv": ("import",),
    "results/published/study/manifest.json": ("published-audit", "published-report"),
    "results/published/study/audit.json": ("published-audit",),
    "results/published/study/run.toml": ("published-report",),
}
"""A file or folder that may not be read, to the verbs that need it."""
READS = ("dry-run", "status", "why", "table", "report-all-to", "score-to", "audit", "compare", "predict", "doctor")
"""Verbs that need no right to write in a results root."""
WRITES = ("run", "report", "score", "import", "explain", "profile", "tune", "publish", "published-report")
"""Verbs that write into it."""
FOLDERS = {
    "study.toml": ("validate", "run"),
    "data/patients.csv": ("status", "data-check"),
    "results/study/suite.lock.toml": ("status", "audit", "report"),
    "results/study/folds.csv": ("report", "score", "compare"),
    "results/study/cells/KEY/predictions.parquet": ("audit",),
}
"""A file in whose place a folder lies, to verbs that need it."""


def prepare(root: Path) -> dict[str, str]:
    """The results of a suite, run and published; what stands for KEY and FEATURES in a path."""
    (root / "data").mkdir()
    write_cohort(root / "data", 40)
    (root / "study.toml").write_text(SUITE)
    here = Path.cwd()
    os.chdir(root)
    try:
        session = Session(device="cpu", registry=discover())
        report = session.run("study.toml", track=False)
        assert report.complete, report
        plan, store = session.as_run("study.toml")
        store.write_text("audit.json", session.audit("study.toml").to_json())
        store.write_text("report.html", "what `publish` writes, which takes seconds")
        copy_published(plan, store, Audit("study", ()), "fusionbench run study.toml")
        (store.folder / "report.html").unlink()
    finally:
        os.chdir(here)
    theirs = pd.read_parquet(root / "results/study/predictions.parquet").query("model == 'cox'").assign(model="theirs")
    theirs.to_csv(root / "theirs.csv", index=False)
    key = next(cell.key for cell in plan.todo() if cell.model.name == "cox" and cell.modalities == ("clinical",))
    return {"KEY": key, "FEATURES": sorted(p.name for p in (root / "data/features").iterdir())[0]}


def call(verb: str, names: dict[str, str], to: Path) -> list[Any]:
    """Status, output and errors of a verb in this process."""
    from fusionbench import cli

    sys.argv = ["fusionbench", *(str(to) if word == "TO" else names.get(word, word) for word in VERBS[verb])]
    out, err = io.StringIO(), io.StringIO()
    status: object = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as ended:
            status = ended.code or 0
        except BaseException:  # noqa: BLE001 - as the interpreter would show it
            traceback.print_exc()
            status = 1
    return [status, out.getvalue(), err.getvalue()]


def obey_modes() -> None:
    """Take root's power to read and write everything from this process: it is another user to files of others.

    Not `setuid`: Python itself may be installed where only root reads, and modules are imported as they are needed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable capabilities, twice 32
    if libc.capget(header, sets) or libc.capset(header, _without_dac(sets)):
        raise OSError(ctypes.get_errno(), "capabilities cannot be given up")


def _without_dac(sets: Any) -> Any:
    dac = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    return (ctypes.c_uint32 * 6)(*(value & ~dac if i < 3 else value for i, value in enumerate(sets)))


def as_another_user(root: Path, names: dict[str, str], cases: list[tuple[str, str, str]], answer: str) -> None:
    """In a process of its own: take a file's rights away, call the verb, give them back; for every case."""
    os.environ.pop("FUSIONBENCH_BAG_CACHE", None)
    # Neither may be written, and the first is not there: no verb needs a cache.
    os.environ.update(HOME="/nonexistent", FUSIONBENCH_DATA=str(root / "home"), MPLCONFIGDIR="/nonexistent/matplotlib")
    os.chdir(root / "place")
    if os.geteuid() == 0:
        for path in (root / "place", *(root / "place").rglob("*")):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o777 if path.is_dir() else 0o666)
        obey_modes()
    found = {}
    for i, (kind, name, verb) in enumerate(cases):
        path, to = Path(name.replace("KEY", names["KEY"]).replace("FEATURES", names["FEATURES"])), root / f"to/{i}"
        before, aside = path.stat().st_mode, root / "to/aside"
        if kind == "read-only":
            changed = [(each, each.stat().st_mode) for each in (path, *path.rglob("*")) if each.is_dir()]
            for each, mode in changed:
                each.chmod(mode & 0o555)
        elif kind == "folder":
            path.rename(aside)
            path.mkdir()
        else:
            path.chmod(before & (0o700 if os.geteuid() == 0 else 0))
        try:
            found[f"{kind} {name} {verb}"] = call(verb, names, to)
        finally:
            if kind == "read-only":
                for each, mode in changed:
                    each.chmod(mode)
            elif kind == "folder":
                path.rmdir()
                aside.rename(path)
            else:
                path.chmod(before)
    Path(answer).write_text(json.dumps(found))


CASES = [
    *(("unreadable", name, verb) for name, verbs in UNREADABLE.items() for verb in verbs),
    *(("read-only", "results", verb) for verb in (*READS, *WRITES)),
    *(("folder", name, verb) for name, verbs in FOLDERS.items() for verb in verbs),
]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Outcome]]:
    root = tmp_path_factory.mktemp("permissions")
    try:
        (root / "place").mkdir()
        names = prepare(root / "place")
        for folder in ("to", "home"):
            (root / folder).mkdir()
        (root / "home").chmod(0o555)
        process = server().Process(target=as_another_user, args=(root, names, CASES, str(root / "to/answer")))
        process.start()
        process.join(500)
        answer = json.loads((root / "to/answer").read_text())
        yield {case: Outcome(int(str(status)), out, err) for case, (status, out, err) in answer.items()}
    finally:
        shutil.rmtree(root)


def one_line(outcome: Outcome, name: str) -> str:
    assert "Traceback" not in outcome.stderr, outcome.stderr
    assert outcome.returncode == 2, outcome
    (line,) = (line for line in outcome.stderr.splitlines() if line.startswith("error: "))
    assert (".h5" if name.endswith("FEATURES") else name.partition("/cells")[0]) in line
    return line


@pytest.mark.parametrize(("kind", "name", "verb"), [case for case in CASES if case[0] == "unreadable"])
def test_what_may_not_be_read_is_named(said: dict[str, Outcome], kind: str, name: str, verb: str) -> None:
    line = one_line(said[f"{kind} {name} {verb}"], name)
    assert (
        "ask its owner for the permission, or work on a copy of your own" in line or "choose another with" in line
    )  # `run` writes
    assert "remove" not in line, "nobody is told to delete what another user may read"


@pytest.mark.parametrize(("kind", "name", "verb"), [case for case in CASES if case[0] == "folder"])
def test_a_folder_in_the_place_of_a_file_is_named(said: dict[str, Outcome], kind: str, name: str, verb: str) -> None:
    line = one_line(said[f"{kind} {name} {verb}"], name)
    assert "move it away" in line or name == "study.toml" or name.endswith(".parquet")


@pytest.mark.parametrize("verb", READS)
def test_reading_needs_no_right_to_write(said: dict[str, Outcome], verb: str) -> None:
    """Neither in the results root, nor in the data home or the user's own folder."""
    outcome = said[f"read-only results {verb}"]
    assert outcome.returncode == 0, outcome


@pytest.mark.parametrize("verb", WRITES)
def test_what_may_not_be_written_is_named(said: dict[str, Outcome], verb: str) -> None:
    assert "with --out" in one_line(said[f"read-only results {verb}"], "results")


def test_a_file_that_a_model_may_not_read_is_its_cells_failure(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin raises within a cell ends that cell, not the run."""
    from fusionbench_controls.cox import Cox

    def fit(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/weights.bin")

    monkeypatch.setattr(Cox, "fit", fit)
    Path("mine.toml").write_text(
        SUITE.replace("table[file=data/cohort.toml]", "synthetic[cases=80]")
        .replace('"clinical"', '"vector"')
        .replace(', ["slides"]', "")
        .replace(', "abmil"', "")
    )
    ended = cli("run", "mine.toml", "--no-track")
    assert ended.returncode == 1, ended.stderr
    assert "2 cells failed" in ended.stderr
    assert "/weights.bin" in ended.stderr
