"""What the documents show is true: commands parse, the model of the tour joins a suite, links exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Cli

ROOT = Path(__file__).parents[2]
TUTORIAL = "plugins/README.md"
OWN_DATA = "docs/own-data.md"
"""Their commands take a package and files of their own: tests/e2e/test_tutorial.py, tests/e2e/test_own_data_doc.py."""
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    TUTORIAL,
    *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md"))),
]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
COMMANDS = sorted(
    {
        line.removeprefix("$ ").split("#")[0].strip()
        for name, text in TEXTS.items()
        if name not in (TUTORIAL, OWN_DATA)
        for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ fusionbench ")
    }
)
QUICK = {"ls", "plugins", "validate", "data"}


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_documents_works(cli: Cli, command: str) -> None:
    """`run` as a dry run; the lists for real; the rest, downloads too, as far as their flags."""
    _, verb, *rest = shlex.split(command)
    if verb == "run":
        rest = [*rest, "--dry-run"]
    elif verb not in QUICK or rest[0] == "fetch":
        rest = [*rest, "--help"]
    result = cli(verb, *rest)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", TEXTS[name]):
        assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}"


def test_named_files_exist() -> None:
    for text in TEXTS.values():
        for target in re.findall(r"`((?:fusionbench|tests|plugins|benchmarks|docs)/[\w./-]+)`", text):
            assert (ROOT / target).exists(), target


def test_the_model_of_the_tour_joins_a_suite(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(c for c in re.findall(r"```python\n(.*?)```", TEXTS["docs/tour.md"], re.DOTALL) if "hookimpl" in c)
    site = tmp_path / "site"
    info = site / "readme_model-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "readme_model.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: readme-model\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fusionbench]\nreadme = readme_model\n")
    monkeypatch.syspath_prepend(site)
    result = cli("run", "example-tiny", "-m", "mean-sum[]", "--folds", "0", "--no-track")
    assert result.returncode == 0, result.stderr
    assert "mean-sum" in result.stdout
    assert "mean-sum | vector+bag" in " ".join(result.stdout.split())
    checked = cli("check", "readme")
    assert checked.returncode == 0, checked.stdout
