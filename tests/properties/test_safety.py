"""Names from files stay names: none becomes a path outside its folder, and none becomes markup of the report."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusionbench.core.errors import DataError, FusionBenchError, ResultsError, SuiteError
from fusionbench.core.file_names import LONGEST, filename, is_plain
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.core.registry import Registry
from fusionbench.core.types import Source
from fusionbench.data.downloads import local_path
from fusionbench.report.document import Entry
from fusionbench.report.html.page import heading, items, page, paragraph, table
from fusionbench.suites.suite_files import name_of_file
from fusionbench.tools.find_cell import find_cell

PATHS = [
    *("../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "C:\\x", "\\\\host\\x", "a\x00b", "~/x", ".hidden"),
    *("CON", "nul", "com1.txt", "LPT9", "aux.", "x" * 5000, "é" * 200, "a\nb", "\u202egnp.exe", "\ud800", "-rf", "*"),
]
HTML = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</title><script>x</script>", "&lt;b&gt;"),
    *("' onmouseover='x", "<!--", "]]>", "</table></body>", "javascript:x", "<svg/onload=x>", "\x00<b>", "{{x}}"),
]
NAMES = st.one_of(st.sampled_from(PATHS), st.text(max_size=30), st.text("./\\~:*conCON01", max_size=9))
SHOWN = st.one_of(st.sampled_from(HTML), st.text(max_size=20), st.text("<>&\"'/=! abc", max_size=15))


@given(NAMES, NAMES)
@example("a/b", "a_b")
@example("CON", "con")
def test_a_file_name_for_any_text(one: str, other: str) -> None:
    name = filename(one)
    assert is_plain(name)
    assert len(name) <= LONGEST
    assert (Path("/root/folder") / name).resolve().parent == Path("/root/folder")
    assert name.encode("ascii")
    assert (filename(other) == name) == (one == other)


def test_ids_of_cases_stay_as_they_are() -> None:
    names = ("TCGA-2F-A9KO", "case-00001", "p.1_b")
    assert tuple(map(filename, names)) == names


@given(NAMES)
def test_a_suite_file_has_a_plain_name_or_is_refused(name: str) -> None:
    """The stem names the folder of its results."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "is_file", lambda path: True)
        patched.setattr(Path, "read_text", lambda path, encoding: "")
        try:
            stem = name_of_file(Registry((), {}), Path(f"{name}.toml").expanduser())
        except (SuiteError, ValueError, RuntimeError):  # RuntimeError: `~somebody`, whose home is not known
            return
    assert is_plain(stem)
    assert stem not in ("published", "mlartifacts")


@given(st.one_of(NAMES, st.sampled_from(["/abc", "../abc", "a/../abc", "**", "abc/*", "published/ab"])))
def test_a_key_is_no_path(text: str) -> None:
    with pytest.raises(ResultsError):
        find_cell(Path("/nowhere"), text)


@given(NAMES)
def test_a_source_lies_in_the_data_home_or_is_refused(name: str) -> None:
    home = Path("/data/home")
    source = Source(name, "https://example.org/x", "0" * 64, "CC0")
    try:
        place = local_path(home, source)
    except DataError:
        return
    assert Path(str(place)).parts[:3] == home.parts
    assert ".." not in place.parts


@given(NAMES)
def test_a_name_in_brackets_stays_a_value(name: str) -> None:
    """Dataset options may name files, which are read; they are written in keys and tables only."""
    try:
        ref = PluginRef.parse(name)
    except FusionBenchError:
        return
    assert "/" not in ref.name
    assert not ref.name.startswith(".")


class Tags(HTMLParser):
    """Which tags and attributes a page has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = sorted(name for name, _ in attrs if name != "class")  # long texts are shown in another width
        if tag != "wbr":  # where a long name may be broken
            self.seen.append(f"{tag} {known}")

    def handle_comment(self, data: str) -> None:
        self.seen.append("a comment")


@settings(max_examples=200)
@given(st.lists(SHOWN, min_size=6, max_size=6))
def test_a_page_shows_names_and_reasons_as_text(texts: list[str]) -> None:
    """The same tags and attributes whatever the case ids, model names and reasons are."""

    def made(a: str, b: str, c: str, d: str, e: str, f: str) -> list[str]:
        cells = [Entry(a, strong=True), Entry(b, mark=f"m{c}")]
        rows = table(d, [e, f], [cells])
        body = [heading(1, a), paragraph(f"p{b}"), items([f"i{c}"]), rows]
        return Tags(page(f"t{a}", body)).seen

    assert made(*texts) == made(*["plain"] * 6)
