"""One results root has one suite of a name; a suite of the user's own keeps its name when its file moves or is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Cli
from tests.e2e.test_bad_input import one_error

SUITE = """\
title = "Mine"
datasets = ["breast-cancer"]
models = ["cox", "cox[l1_ratio=0.5]"]
modalities = [["clinical"]]
[protocol]
folds = 2
"""


@pytest.fixture
def run_once(cli: Cli, tmp_path: Path, empty_store: Path) -> Path:
    """`mine/study.toml`, run into `results`, where a tracking store is."""
    (tmp_path / "results").mkdir()
    shutil.copy(empty_store, tmp_path / "results" / empty_store.name)
    path = write(tmp_path / "mine")
    assert cli("run", "mine/study.toml", "--no-track").returncode == 0
    return path


def write(folder: Path, name: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(f'name = "{name}"\n{SUITE}' if name else SUITE)
    return folder / "study.toml"


QUICK = (
    ("table",),
    ("status",),
    ("doctor",),
    ("compare", "cox", "cox[l1_ratio=0.5]"),
    ("score", "--metric", "uno_c_index"),
)
SLOW = (("audit",), ("publish",), ("sync",), ("explain", "-m", "cox", "--top-risk", "1"))
"""Verbs that need what is stored alone, with what follows the suite."""
NEED_FILE = (
    *(("run",), ("run", "--dry-run"), ("validate",), ("profile", "-m", "cox")),
    ("tune", "-m", "cox", "--trials", "1", "--inner-folds", "2"),
)


def test_every_verb_takes_the_name_and_the_path(cli: Cli, run_once: Path) -> None:
    for suite, verbs in (("study", (*QUICK, *NEED_FILE)), ("mine/study.toml", QUICK)):
        for verb in verbs:
            result = cli(verb[0], suite, *verb[1:])
            assert result.returncode == 0 or "cox trains no torch module" in result.stderr, f"{verb}: {result.stderr}"
    assert json.loads(Path("results/study/suite_file.json").read_text()) == {
        "relative": "../mine/study.toml",
        "absolute": str(run_once),
    }
    key = json.loads(cli("status", "study", "--json").stdout)["cells"][0]["key"]
    assert f"key: {key}" in cli("why", f"study/{key[:6]}").stdout
    assert cli("predict", f"study/{key[:6]}", "breast-cancer").returncode == 0
    for suite in ("study", "mine/study.toml"):
        assert "state: done" in cli("why", suite, "breast-cancer", "cox", "clinical", "0").stdout


@pytest.mark.usefixtures("run_once")
def test_a_file_that_is_gone(cli: Cli) -> None:
    Path("mine/study.toml").unlink()
    for suite, verbs in (("study", (*QUICK, *SLOW)), ("mine/study.toml", QUICK)):
        for verb in verbs:
            result = cli(verb[0], suite, *verb[1:])
            assert result.returncode == 0, f"{verb}: {result.stderr}"
        for verb in NEED_FILE:
            one_error(
                cli(verb[0], suite, *verb[1:]),
                f"study: its file is gone, last seen as {Path.cwd()}/mine/study.toml; name the file: "
                "fusionbench run '<path of study.toml>'",
            )


@pytest.mark.usefixtures("run_once")
def test_a_file_that_has_moved_is_known_again_once_it_is_run(cli: Cli) -> None:
    shutil.move("mine", "ours")
    one_error(cli("run", "study"), "its file is gone, last seen as")
    assert "4 of 4 cells are done" in cli("status", "ours/study.toml").stdout
    assert "nothing to do" in cli("run", "ours/study.toml", "--no-track").stdout
    assert "nothing to do" in cli("run", "study", "--no-track").stdout


@pytest.mark.usefixtures("run_once")
def test_a_folder_with_file_and_results_is_moved(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    for part in ("mine", "results"):
        shutil.copytree(part, tmp_path / "copy" / part)
    monkeypatch.chdir(tmp_path / "copy")
    assert "nothing to do" in cli("run", "study", "--no-track").stdout
    shutil.rmtree(tmp_path / "mine")
    assert "nothing to do" in cli("run", "study", "--no-track").stdout


@pytest.mark.usefixtures("run_once")
def test_two_files_of_one_name_are_refused(cli: Cli, tmp_path: Path) -> None:
    other = write(tmp_path / "other")
    other.write_text(f"{other.read_text()}# Another one: a copy of the same file would be the same suite.\n")
    before = sorted(path.name for path in Path("results/study").rglob("*"))
    said = (
        "other/study.toml: results/study has the results of another suite of this name, ",
        str(tmp_path / "mine/study.toml"),
        'write a line `name = "..."` at the top of other/study.toml, or choose another --out',
    )
    for verb in (*QUICK, *SLOW, *NEED_FILE, ("ui",)):
        one_error(cli(verb[0], "other/study.toml", *verb[1:]), *said)
    assert sorted(path.name for path in Path("results/study").rglob("*")) == before
    assert "study: 4 cells" in cli("run", "other/study.toml", "--no-track", "--out", "elsewhere").stdout
    write(tmp_path / "other", "second")
    assert "second: 4 cells" in cli("run", "other/study.toml", "--no-track").stdout
    assert "4 of 4 cells are done" in cli("status", "second").stdout
    assert "no report" not in cli("report", "--all").stdout
    page = Path("results/index.html").read_text()
    assert "study/report.html" in page
    assert "second/report.html" in page


def test_a_name_that_an_installed_suite_has(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "mine", "quickstart")
    for verb in NEED_FILE:
        one_error(cli(verb[0], str(path), *verb[1:]), "an installed suite is called 'quickstart', too: ", str(path))
    write(tmp_path / "mine")
    assert cli("run", str(path), "--no-track").returncode == 0
    shutil.move("results/study", "results/quickstart")  # as if a plugin of that name had been installed since
    one_error(
        cli("status", "quickstart"), "results/quickstart has the results of another suite of this name, ", "mine/"
    )


def test_a_name_that_is_no_folders(cli: Cli, tmp_path: Path) -> None:
    for name in ("a/b", "published", "", "../x"):
        path = tmp_path / "study.toml"
        path.write_text(f'name = "{name}"\n{SUITE}')
        one_error(cli("run", "study.toml"), f"study.toml: {name!r} names the folder of its results")
    path.write_text(f"name = 3\n{SUITE}")
    one_error(cli("validate", "study.toml"), "study.toml: 3 names the folder of its results")


@pytest.mark.usefixtures("run_once")
def test_results_of_an_older_version_say_which_file_is_missing(cli: Cli) -> None:
    Path("results/study/suite_file.json").unlink()
    assert cli("report", "study").returncode == 0
    one_error(
        cli("run", "study"),
        "study: no installed plugin brings this suite any more; install that plugin, or name a file: ",
    )
    Path("results/study/suite_file.json").write_text("{}")
    one_error(cli("table", "study"), "suite_file.json: cannot be read", "remove it, then run the suite by its path")


def test_a_suite_that_is_nowhere(cli: Cli) -> None:
    for verb in (*QUICK, *SLOW, *NEED_FILE, ("ui",)):
        one_error(cli(verb[0], "studdy", *verb[1:]), "unknown suite 'studdy'", "such as ./studdy.toml")
