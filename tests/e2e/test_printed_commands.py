"""Every command that an output prints works from the place where it was printed: quoted, and with its `--out`."""

from __future__ import annotations

import json
import shlex
import shutil
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from tests.conftest import Cli, Outcome
from tests.printed_commands import has_placeholder, printed_commands

OUT = "my results; [mine]"
FILE = "it's mine/study (1).toml"
SUITE = """\
name = "study"
title = "A study"
datasets = ["example-faulty"]
models = ["example-least-squares[ridge=5.0]", "late-fusion[member='example-least-squares[ridge=5.0]']", "MORE"]
modalities = [["table", "tiles"]]
[protocol]
folds = 2
"""
ROW = ("example-faulty", "example-least-squares[ridge=5.0]", "table+tiles", "0")


class Reader:
    """Runs commands, and every command that these print."""

    def __init__(self, cli: Cli) -> None:
        self.cli = cli
        self.printed: list[str] = []
        self.wrong: list[str] = []

    def do(self, *args: str, out: str = OUT) -> Outcome:
        """A verb with `--out`; what it prints is tried at once, in the state in which it was printed."""
        found = self.cli(*args, "--out", out)
        assert "Traceback" not in found.stderr
        self.follow(found.stdout + found.stderr)
        return found

    def follow(self, text: str) -> None:
        """Run every command of a text that has not been run, and asks for no word of the reader's."""
        for command in printed_commands(text):
            if command in self.printed:
                continue
            self.printed.append(command)
            if not has_placeholder(command):
                ended = self.cli(*shlex.split(command)[1:])
                if ended.returncode not in (0, 1) or "error: " in ended.stderr:  # 1: some cells failed
                    self.wrong.append(f"{command}: {ended.stderr}")

    def verbs(self) -> set[str]:
        return {shlex.split(command)[1] for command in self.printed}


@pytest.fixture
def reader(cli: Cli, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    (tmp_path / OUT).mkdir()
    shutil.copy(empty_store, tmp_path / OUT / empty_store.name)
    # `ui` prints its links as it does, and serves nothing.
    monkeypatch.setattr("fusionbench.report.mlflow.require_free", lambda host, port: None)
    ended = SimpleNamespace(wait=lambda: 0)
    monkeypatch.setattr("fusionbench.report.mlflow.served", lambda *args: nullcontext(ended))
    # Drawing figures is most of a report's time, and no command is in their pixels.
    one = Image.new("P", (1, 1))
    monkeypatch.setattr("fusionbench.report.figures.export.image_of", lambda figure, colours: one)
    monkeypatch.setattr("fusionbench.report.figures.export.svg", lambda figure: b"<svg/>")
    write("example-failing")
    return Reader(cli)


def write(more: str) -> None:
    Path(FILE).parent.mkdir(exist_ok=True)
    Path(FILE).write_text(SUITE.replace("MORE", more))


def test_commands_are_found_as_they_are_quoted() -> None:
    text = (
        "do: fusionbench run 'a b.toml' --out 'it'\"'\"'s; x'. See (fusionbench why s/1ab) or `fusionbench data ls`, "
        "[label; fusionbench why x/2 --out y]\nfusionbench 1.0 is no command; &#x27;&lt;p&gt;&#x27; nor this; "
        "<code>fusionbench run &#x27;&lt;path of s.toml&gt;&#x27; -m SUITE</code>"
    )
    found = printed_commands(text)
    assert found == [
        "fusionbench run 'a b.toml' --out 'it'\"'\"'s; x'",
        "fusionbench why s/1ab",
        "fusionbench data ls",
        "fusionbench why x/2 --out y",
        "fusionbench run '<path of s.toml>' -m SUITE",
    ]
    assert list(map(has_placeholder, found)) == [False, False, False, False, True]


def test_every_printed_command_works_where_it_was_printed(reader: Reader, cli: Cli, tmp_path: Path) -> None:
    # Nothing has been run: errors name the command to begin with. They are not followed yet, which would run it.
    for verb in ("table", "audit", "publish", "compare", "doctor"):
        more = ("a", "b") if verb == "compare" else ()
        begin = cli(verb, FILE, *more, "--out", OUT).stderr
        (command,) = printed_commands(begin)
        assert shlex.split(command) == ["fusionbench", "run", FILE, "--out", OUT], begin
    reader.do("status", FILE)  # prints the same command, which runs the whole suite
    assert (tmp_path / OUT / "study" / "table.md").is_file()

    # It has been run, with a row that fails.
    for args in (
        *(("run", "study"), ("status", "study"), ("why", "study", *ROW), ("audit", "study"), ("doctor", "study")),
        *(("publish", "study"), ("sync",), ("ui", "study"), ("score", "study", "--metric", "ibs")),
        ("run", "study", "-m", "example-failing[]", "-m", "example-least-squares[ridge=7.0]", "--retry", "failed"),
        ("why", "dead"),
        ("tune", "study", "-m", "example-failing"),
    ):
        reader.do(*args)
    reader.follow((tmp_path / OUT / "study" / "report.html").read_text(encoding="utf-8"))
    cells = json.loads(cli("status", "study", "--json", "--out", OUT).stdout)["cells"]
    for cell in cells:
        reader.do("why", f"study/{cell['key']}")

    # Inputs have changed since: cells are stale, also those that a fusion builds on.
    write("example-flat")
    Path(FILE).write_text(Path(FILE).read_text().replace("folds = 2", "folds = 2\nvalidation = 0.3"))
    stale = reader.do("status", "study").stdout
    assert "stale" in stale, stale
    reader.do("run", "study", "--limit", "1")
    reader.do("sync")  # the report is older than that cell
    for folder in sorted((tmp_path / OUT / "study" / "cells").iterdir()):
        reader.do("why", f"study/{folder.name}")
    reader.do("explain", "study", "-m", "example-least-squares[ridge=5.0]", "--case", "case-01")

    # Whole, published, explained; a second suite has the same cells; the file is gone.
    assert reader.do("run", "study").returncode == 0
    assert reader.do("publish", "study").returncode == 0
    reader.follow((tmp_path / OUT / "published" / "study" / "report.html").read_text(encoding="utf-8"))
    reader.do("status", "study", out=f"{OUT}/published")
    reader.do("explain", "study", "-m", "example-flat", "--case", "case-01", out=f"{OUT}/published")
    reader.do("explain", "study", "-m", "example-flat", "--case", "case-01")
    for page in (tmp_path / OUT / "study").rglob("explanation.html"):
        reader.follow(page.read_text(encoding="utf-8"))
    Path("second.toml").write_text(Path(FILE).read_text().replace('"study"', '"second"'))
    reader.do("run", "second.toml")
    key = next((tmp_path / OUT / "second" / "cells").iterdir()).name
    asked = cli("why", key, "--out", OUT)
    assert f"names 2 cells: second/{key}, study/{key}; write one of these" in asked.stderr
    for suite in ("second", "study"):
        assert reader.do("why", f"{suite}/{key}").stdout.startswith(f"{suite}: ")
    Path(FILE).unlink()
    gone = reader.do("run", "study").stderr
    assert has_placeholder(printed_commands(gone)[0])

    assert reader.wrong == []
    assert {"run", "why", "status", "ui", "table", "explain", "report"} <= reader.verbs()
