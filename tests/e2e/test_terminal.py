"""What a person sees on a terminal: nothing wider than it, the verdict and the next command on one screen."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import struct
import termios
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.conftest import Cli
from tests.forking import Forked

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SUITE = """
title = "Is it better to read genes and clinical data together, or is one of them enough for these patients?"
datasets = ["breast-cancer"]
models = ["cox", "late-fusion[member=cox]", "survival-forest[trees=25]"]
metrics = ["harrell_c_index", "ibs"]
[modalities]
breast-cancer = [["clinical"], ["genes"], ["clinical", "genes"]]
[protocol]
folds = 3
test_patterns = ["full", "half"]
"""
TERMINAL = {"FORCE_COLOR": "1", "TERM": "xterm", "LINES": "40"}


def lines_of(text: str) -> list[str]:
    return ESCAPES.sub("", text).replace("\r\n", "\n").rstrip("\n").split("\n")


def widest(text: str) -> int:
    return max(cell_len(part) for line in lines_of(text) for part in line.split("\r"))


def on_terminal(args: Sequence[str], cwd: Path, columns: int, *, progress: bool = False) -> tuple[int, str]:
    """`fusionbench ARGS` on a pseudo-terminal of so many columns.

    Args:
        progress: standard error is the terminal, too.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR")}
    terminal = Path(os.ttyname(theirs))
    error = terminal if progress else Path(os.devnull)
    process = Forked(args, cwd, {"PYTHONPATH": "", **env, "TERM": "xterm"}, terminal, error)
    seen = b""
    while process.poll() is None:
        if select.select([ours], [], [], 0.1)[0]:
            seen += os.read(ours, 65536)
    os.close(theirs)
    try:
        while part := os.read(ours, 65536):
            seen += part
    except OSError as ended:  # Linux tells the end of a terminal so
        if ended.errno != errno.EIO:
            raise
    os.close(ours)
    return process.wait(0), seen.decode()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a suite has been run, on a terminal of 60 columns; with what was seen in `seen`."""
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "study.toml").write_text(SUITE)
    status, seen = on_terminal(("run", "study.toml", "--no-track"), folder, 60, progress=True)
    (folder / "seen").write_text(seen)
    assert status == 0, seen
    return folder


def test_a_run_ends_with_one_screen(study: Path) -> None:
    seen = (study / "seen").read_text()
    assert widest(seen) <= 60
    assert "\x1b[?25h" in seen, "the cursor is shown again"
    last = lines_of(seen)[-40:]
    text = " ".join(" ".join(last).split())
    assert "No fusion row beats the best single modality" in text or "Fusion helps" in text
    for part in ("cases, 51 events", "c-index", "table: results/study/table.md", "fusionbench report study"):
        assert part in text, text
    assert "|" not in text, "no Markdown"


@pytest.mark.parametrize("columns", [20, 60, 80, 120])
def test_a_table_fits(study: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.chdir(study)
    seen = cli("table", "study.toml", env={**TERMINAL, "COLUMNS": str(columns)}).stdout
    assert widest(seen) <= columns
    assert len(lines_of(seen)) <= 40
    assert ("95 % interval" in seen) == (columns >= 60), "columns are left out whole"
    assert re.search(r"0\.\d\d\d", seen)
    plain = " ".join(ESCAPES.sub("", seen).split())
    assert "bold, a: the best row and those not significantly different from it" in plain


def test_best_first_within_a_set(study: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    wide = {**TERMINAL, "COLUMNS": "120"}
    seen = lines_of(cli("table", "study.toml", env=wide).stdout)
    for modalities in ("clinical", "genes", "clinical+genes"):
        rows = [line.split() for line in seen if f"  {modalities}  " in line]
        values = [float(row[2]) for row in rows]
        assert len(values) >= 2, seen
        assert values == sorted(values, reverse=True), seen
    by_model = lines_of(cli("table", "study.toml", "--sort", "model", "--all-rows", env=wide).stdout)
    names = [line.split()[0] for line in by_model if re.search(r"0\.\d\d\d", line) and "  " in line.strip()]
    assert names == sorted(names)


def test_more_on_request(study: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    wide = {**TERMINAL, "COLUMNS": "120"}
    assert " ibs" in cli("table", "study.toml", "--all-metrics", env=wide).stdout
    half = cli("table", "study.toml", "--pattern", "half", env=wide).stdout
    assert "pattern half" in half
    assert "With every modality: " in half
    wrong = cli("table", "study.toml", "--pattern", "hlaf", env=wide)
    assert wrong.returncode == 2
    assert "did you mean 'half'" in wrong.stderr
    assert cli("table", "study.toml").stdout.startswith("# Is it better"), "in a pipe, Markdown"
    assert cli("table", "study.toml", "-f", "md", env=wide).stdout.startswith("# Is it better")


def test_markdown_is_best_first_and_has_the_verdict(study: Path) -> None:
    text = (study / "results/study/table.md").read_text()
    rows = [
        line for line in text.split("### pattern half")[0].splitlines() if line.startswith("| ") and "genes" in line
    ]
    fused = [float(row.split("|")[3].strip(" *").split()[0]) for row in rows if "clinical+genes" in row]
    assert len(fused) == 3
    assert fused == sorted(fused, reverse=True)
    assert "the best single modality" in text.split("### pattern")[0]


@pytest.mark.parametrize("args", [("ls", "models"), ("ls", "datasets"), ("ls", "suites"), ("plugins",), ("data", "ls")])
@pytest.mark.parametrize("columns", [60, 80])
def test_lists_have_one_line_an_entry(cli: Cli, args: Sequence[str], columns: int) -> None:
    seen = cli(*args, env={**TERMINAL, "COLUMNS": str(columns)}).stdout
    assert max(cell_len(line) for line in lines_of(seen) if not line.startswith("data home")) <= columns
    names = {line.split()[0] for line in lines_of(seen)}
    assert names & {"healnet", "breast-cancer", "quickstart"}


def test_options_of_one_model(cli: Cli) -> None:
    seen = cli("ls", "models", "healnet").stdout
    assert "\n  latents = 16" in seen
    wrong = cli("ls", "models", "heelnet")
    assert wrong.returncode == 2
    assert "unknown model 'heelnet'; did you mean 'healnet'" in wrong.stderr


def test_progress_is_readable_from_60_columns(study: Path) -> None:
    parts = [part for line in lines_of((study / "seen").read_text()) for part in line.split("\r")]
    bars = [part for part in parts if re.search(r"━ +[1-9]\d*/\d+ \d:\d\d:\d\d ", part)]
    assert bars, parts
    assert not any("…/" in part or ":0…" in part or ":…" in part for part in parts), "no number is cut"


def test_the_tour_shows_what_is_printed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    seen = cli("table", "quickstart", "--out", "results/published", env={**TERMINAL, "COLUMNS": "80"}).stdout
    shown = "\n".join(line.rstrip() for line in lines_of(seen))
    assert f"```text\n{shown}\n```" in (root / "docs/tour.md").read_text(encoding="utf-8"), f"it should show:\n{shown}"
