"""A model in a Python file without a package: checked, run beside a suite's rows, known by the file's checksum."""

from __future__ import annotations

import html
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fusionbench
from fusionbench.core.errors import SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import discover
from fusionbench.session import Session
from fusionbench.suites.lock import read_lock
from fusionbench.suites.selection import Selection
from tests.conftest import Cli

MODEL = Path(fusionbench.__file__).parent / "cli/new_plugin/templates/model/src/fusionbench_my_plugin/fusion.py"
SUITE = """
title = "Mine"
datasets = ["breast-cancer"]
models = ["cox"]
modalities = [["clinical"]]
[protocol]
folds = 2
[train]
epochs = 2
"""


@pytest.fixture
def file(request: pytest.FixtureRequest) -> str:
    """A name that no other test has imported in this process."""
    return f"net_{request.node.name.partition('[')[0]}.py"


@pytest.fixture
def here(cli: Cli, tmp_path: Path, file: str) -> Path:
    shutil.copy(MODEL, tmp_path / file)
    (tmp_path / "mine.toml").write_text(SUITE)
    assert cli
    return tmp_path


def command(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which has no other plugins than its worker processes."""
    code = "from fusionbench.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *args], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("here")
def test_it_is_checked_as_a_plugin_is(cli: Cli, file: str) -> None:
    ended = cli("check", f"./{file}:MeanFusion[width=8]", "-k", "documented")
    assert ended.returncode == 0, ended.stderr
    assert f"model {file}:MeanFusion[width=8]" in ended.stdout
    ended = cli("check", f"./{file}", "-k", "gradients")
    assert ended.returncode == 0
    assert f"model {file}:MeanFusion" in ended.stdout


def test_it_runs_beside_the_rows_of_a_suite_also_in_other_processes(cli: Cli, here: Path, file: str) -> None:
    asked = ("run", "mine.toml", "-m", f"./{file}:MeanFusion[width=8]", "-m", "cox", "--no-track")
    assert command(here, *asked, "--jobs", "2").returncode == 0
    session = Session(here / "results", device="cpu", registry=discover())
    cells = session.plan("mine.toml", Selection(models=(f"{file}:MeanFusion[width=8]",))).listed
    assert str(cells[0].model) == f"{file}:MeanFusion[width=8]"
    record = session.as_run("mine")[1].record(cells[0].key)
    assert record["record"]["source"]["distribution"] == "own file"
    text = (here / file).read_text()
    (here / file).write_text(text + "\n# other code\n")
    again = ("run", "mine.toml", "-m", f"{file}:MeanFusion[width=8]", "--no-track", "--dry-run")
    assert "was changed after this process imported it" in cli(*again).stderr
    changed = command(here, *again)
    assert changed.returncode == 0
    assert record["key"] not in changed.stdout, "other code has another key"


@pytest.fixture
def extended(here: Path, file: str) -> tuple[Session, str, str]:
    """A finished suite to which a run added a class of a file and an installed model; the names of these."""
    session = Session(here / "results", device="cpu", registry=discover())
    added = f"{file}:MeanFusion[width=4]"
    session.run("mine.toml", Selection(folds="0"), track=False)
    report = session.run("mine.toml", Selection(models=(added, "survival-forest[]")), track=False)
    assert not report.complete
    assert session.run("mine", track=False).complete
    return session, added, "survival-forest"


def test_a_model_that_is_added_is_a_row_of_the_suite_for_good(extended: tuple[Session, str, str], cli: Cli) -> None:
    session, *added = extended
    assert session.run("mine", track=False).ran == 0, "a later run without -m knows them"
    assert set(session.table("mine")["model"]) == {"cox", *added}
    assert len(session.compare("mine", "cox", added[0]))
    assert [line.verdict for line in session.audit("mine").lines if "the suite's file" in line.rule] == ["DECLARED"]
    lock = read_lock(session.out / "mine")
    assert lock["added_models"] == added
    told = (session.out / "mine" / "table.md").read_text()
    assert f"added to the suite's rows by a run (-m): {', '.join(added)}" in told
    page = html.unescape(session.report("mine").read_text())
    assert page.count("added to the suite's rows by a run") >= 2, "what it rests on, and the audit"
    published = session.publish("mine")
    first, then = tomllib.loads((published / "run.toml").read_text())["command"].split(" && ")
    assert shlex.split(first)[1:7] == ["run", "mine", "-m", added[0], "-m", "survival-forest[]"]
    assert shlex.split(then)[1:] == ["run", "mine", "--out", str(session.out)]
    assert "added to the suite's rows by a run" in (published / "audit.json").read_text()
    assert not (published / "added_models.json").exists()
    assert "added to the suite's rows by a run" in cli("audit", "mine", "--out", "results/published").stdout


def test_a_file_that_is_gone_takes_nothing_with_it(extended: tuple[Session, str, str], here: Path, file: str) -> None:
    session, added, _ = extended
    text = (here / file).read_text()
    (here / file).unlink()
    assert added in set(session.table("mine")["model"])
    assert added in session.report("mine").read_text()
    audit = session.audit("mine")
    assert audit.passed
    assert any(line.verdict == "DECLARED" and str(here / file) in line.seen for line in audit.lines)
    assert session.status("mine").uninstalled == {added: str(here / file)}
    remove = f"fusionbench run mine --remove '{added}'"
    with pytest.raises(SuiteError, match=f"{re.escape(file)}: no such file; .*put the file back .*{re.escape(remove)}"):
        session.run("mine", track=False)
    assert session.run("mine", remove=[added], track=False).complete
    assert set(session.table("mine")["model"]) == {"cox", "survival-forest"}
    with pytest.raises(SuiteError, match=r"--remove cox: unknown model that a run added to this suite"):
        session.run("mine", remove=["cox"], track=False)
    (here / file).write_text(text)


def test_a_class_of_the_same_name_elsewhere_is_not_imported(
    extended: tuple[Session, str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is handed a folder of results runs no file that its record names and they did not name themselves."""
    session, added, _ = extended
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    name = added.partition(":")[0]
    (elsewhere / name).write_text("raise SystemExit('imported')")
    assert session.status("mine").uninstalled == {added: str(here / name)}
    for plan in (session.plan, session.as_run):
        with pytest.raises(SuiteError, match="cannot be loaded now: its class was in"):
            plan("mine")
    assert session.audit("mine").passed


def test_a_class_may_be_handed_to_a_session(here: Path, file: str) -> None:
    registry = discover()
    cls = registry.model(f"{file}:MeanFusion")
    report = Session(here / "results", device="cpu", registry=registry).run("mine.toml", models=[cls], track=False)
    assert (report.ran, report.failed) == (2, ())

    class Local(cls):  # type: ignore[misc, valid-type]
        """In no file's top level."""

    with pytest.raises(SuiteError, match="no class at the top of a Python file"):
        Session(here / "results", device="cpu", registry=registry).run("mine.toml", models=[Local], track=False)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none_here.py:Net", None, "no such file"),
        ("bad_file_a.py:Net", "x = 1 / 0", "ZeroDivisionError"),
        ("bad_file_b.py:Net", "class Other: pass", "unknown FusionModel in this file 'Net'"),
        ("bad_file_c.py:Net", "class Net: pass", "extends no FusionModel"),
        ("bad_file_d.py:Net", "from fusionbench import FusionModel\nclass Net(FusionModel): pass", "not implement"),
        ("json.py:Net", "class Net: pass", "rename the file"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, here: Path, name: str, content: str | None, expected: str) -> None:
    if content is not None:
        (here / name.partition(":")[0]).write_text(content)
    ended = cli("run", "mine.toml", "-m", name, "--no-track")
    assert ended.returncode == 2
    assert expected in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_one_class_has_one_name() -> None:
    assert str(PluginRef.parse("./a//b.py:Net[x=1]")) == "a/b.py:Net[x=1]"


def test_no_suite_runs_code_of_a_file(cli: Cli, here: Path, file: str) -> None:
    (here / "mine.toml").write_text(SUITE.replace('"cox"', f'"{file}:MeanFusion"'))
    ended = cli("run", "mine.toml", "--no-track")
    assert ended.returncode == 2
    assert "which only the command line may name" in ended.stderr
