"""The tutorial is true: its blocks are a package that installs, is checked, runs, and breaks as it says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusionbench.cli.new_plugin import scaffold
from tests.conftest import Cli, Outcome, run_cli

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
BLOCKS = {
    block.splitlines()[0].removeprefix("# "): block
    for block in re.findall(r"```(?:python|toml)\n(.*?)```", TEXT, re.DOTALL)
}
TEXTS = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
CONFORMANCE = "tests/test_conformance.py"
FUSION = "my-fusion"
"""What the tutorial's first commands make."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the tutorial, and the first one it makes, installed without a network under `site`."""
    home = tmp_path_factory.mktemp("tutorial")
    for name, text in BLOCKS.items():
        (home / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "mine" / name).write_text(text, encoding="utf-8")
    made = scaffold.new_plugin(FUSION, "model", home)
    flags = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", home / "site", home / "mine", made.folder]
    subprocess.run(command, check=True, timeout=300)
    return home


def real(home: Path, *args: str, cwd: Path | None = None) -> Outcome:
    return run_cli(args, cwd or home, {"PYTHONPATH": str(home / "site")})


def test_the_blocks_are_a_package() -> None:
    package = {f"src/fusionbench_mine/{file}" for file in ("__init__.py", "mine.toml")}
    kinds = {f"src/fusionbench_mine/{kind}.py" for kind in ("model", "cohort", "modality", "metric")}
    assert set(BLOCKS) == {"pyproject.toml", CONFORMANCE, *package, *kinds}
    assert BLOCKS[CONFORMANCE].split("\n", 1)[1] == scaffold.render("mine", "model")[CONFORMANCE]


def test_the_tree_is_what_new_plugin_writes() -> None:
    tree = next(b for b in TEXTS if b.startswith(f"{FUSION}/"))
    assert sorted(line.split()[0] for line in tree.splitlines()[1:]) == sorted(scaffold.render(FUSION, "model"))


@pytest.fixture
def installed(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In this process, and gone from it afterwards: a name whose module is loaded is taken for other tests."""
    site = home / "site"
    monkeypatch.syspath_prepend(site)
    yield
    for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", None)).startswith(f"{site}/")]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("fusionbench ")])
def test_a_command_works(cli: Cli, installed: None, command: str) -> None:
    """Runs as dry runs; the checks have a test of their own."""
    _, verb, *rest = shlex.split(command)
    if verb == "run":
        rest = [*rest, "--dry-run"]
    if verb == "new-plugin":
        rest = ["--help"]  # the fixture has made it, and its name is taken now
    if verb == "check":
        return
    result = cli(verb, *rest)
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_the_suite_runs_and_shows_what_the_page_says(home: Path, tmp_path: Path) -> None:
    result = real(home, "run", "mine", "--no-track", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    table = " ".join(result.stdout.split())
    assert "| model | modalities | harrell_c_index | early_gap | policy " in table
    assert re.search(r"\| vote \| clinical\+trace \|[^|]*\|[^|]*\| native", table)
    assert "skipped: snn on clinical+trace, 3 cells" in table
    assert "undefined" not in table


@pytest.mark.slow
def test_a_row_with_other_options_and_one_in_another_suite(home: Path, tmp_path: Path) -> None:
    other = real(home, "run", "mine", "-m", "vote[width=64]", "--folds", "0", "--no-track", cwd=tmp_path)
    assert "| vote[width=64] | clinical+trace" in " ".join(other.stdout.split()), other.stderr
    foreign = real(
        home, "run", "quickstart", "-d", "synthetic", "-m", "vote[]", "--folds", "0", "--no-track", cwd=tmp_path
    )
    assert "| vote | vector+bag" in " ".join(foreign.stdout.split()), foreign.stderr
    wrong = real(home, "run", "mine", "-m", "vote[with=64]", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "did you mean 'width'" in wrong.stderr


@pytest.mark.slow
def test_what_it_builds_passes_its_check(home: Path) -> None:
    result = real(home, "check", "mine")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_the_check_says_what_the_page_says(home: Path, tmp_path: Path) -> None:
    careless = changed(home, tmp_path, "metric.py", " or not died.any()", "")
    result = run_cli(["check", "mine", "-k", "early_gap"], tmp_path, careless)
    assert result.returncode == 1, result.stdout + result.stderr
    shown = next(b for b in TEXTS if b.startswith("  FAIL"))
    assert shown in result.stdout


@pytest.mark.slow
def test_a_broken_plugin_looks_as_shown(home: Path, tmp_path: Path) -> None:
    _, row, line = next(b for b in TEXTS if b.startswith("name ")).splitlines()
    (name, status), reason = row.split(), line.partition(": ")[2]
    broken = changed(home, tmp_path, "model.py", "TorchModel", "TorchModle")
    listed = run_cli(["plugins"], tmp_path, broken)
    assert listed.returncode == 0
    assert status in next(line for line in listed.stdout.splitlines() if line.startswith(f"{name} "))
    assert any(shown.startswith(line) for shown in listed.stdout.splitlines()), listed.stdout
    asked = run_cli(["run", "quickstart", "-d", "synthetic", "-m", "vote[]"], tmp_path, broken)
    assert asked.returncode == 2
    assert reason in asked.stderr


def changed(home: Path, folder: Path, file: str, old: str, new: str) -> dict[str, str]:
    """An environment in which one file of the package differs."""
    package = folder / "fusionbench_mine"
    package.mkdir()
    for path in (home / "site" / "fusionbench_mine").glob("*.*"):
        text = path.read_text(encoding="utf-8")
        assert path.name != file or old in text
        (package / path.name).write_text(text.replace(old, new) if path.name == file else text)
    return {"PYTHONPATH": f"{folder}:{home / 'site'}"}
