"""The page: everything escaped, nothing fetched, tables with captions and headers, figures with words for the blind."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from fusionbench.core.errors import ResultsError
from fusionbench.report.document import Entry, Section, entries
from fusionbench.report.figures import make_figures
from fusionbench.report.figures.export import EmbeddedImage, write_figures
from fusionbench.report.figures.figure import Omitted
from fusionbench.report.figures.rows import NAME
from fusionbench.report.figures.style import shortened
from fusionbench.report.html.index import front_page
from fusionbench.report.html.page import sections, table
from fusionbench.report.html.suite_report import Origin, report
from fusionbench.results.audit_verdict import Audit, Line
from fusionbench.results.store import Store
from tests.unit.drawn_results import NASTY, analysed, everything, lock_of, renamed

AUDIT = Audit("toy-suite", (Line("rule <one>", "pass", "3 cells"), Line("rule two", "DECLARED", "1 of 3 & more")))
VOID = {"meta", "img", "br", "hr", "wbr", "source"}


class Outline(HTMLParser):
    """Tags in order, whether they nest, and the text of some."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.texts.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag][-1] += data

    def of(self, tag):
        return [attrs for name, attrs in self.seen if name == tag]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    frames = renamed(everything(3, 2), {"model-0[option=0]": NASTY})
    failed = frames.cells["model"] == "uni"
    cells = frames.cells.assign(status=frames.cells["status"].where(~failed, "failed"))
    cells["reason"] = cells["reason"].where(~failed, "<script>alert(1)</script>")
    analysis, lock = analysed(replace(frames, cells=cells)), lock_of(frames, title="A <toy> & $x_1$")
    store = Store(tmp_path_factory.mktemp("results"), "toy-suite")
    store.folder.mkdir()
    images = list(write_figures(make_figures(analysis, lock), store))
    return report(analysis, lock, images, AUDIT, Origin("fusionbench run toy-suite")), images, store


def test_it_needs_nothing_else(made):
    page, _, _ = made
    outline = Outline(page)
    assert outline.open == []
    assert all(str(image["src"]).startswith("data:image/") for image in outline.of("img"))
    assert all(str(image["srcset"]).startswith("data:image/") for image in outline.of("source"))
    assert not outline.of("link")
    assert not re.search(r"(src|href)=\"?(https?:)?//", page)
    assert "@import" not in page
    assert "url(" not in page


def test_everything_is_escaped(made):
    page, _, _ = made
    assert "<b>&amp;amp;" not in page
    assert "x$_1$&lt;b&gt;&amp;amp;\\frac{a}{b}^%# \u4e2d" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<title>A &lt;toy&gt; &amp; $x_1$</title>" in page


def test_the_caption_of_a_table_has_the_titles_above_it_and_no_others():
    grid = {"header": ("model",), "lines": (entries("cox"),)}
    parts = [Section(level, title, **grid) for level, title in ((3, "one"), (4, "full"), (4, "half"), (3, "two"))]
    page = sections([*parts, Section(4, "", **grid), Section(2, "last", **grid)], "toy")
    captions = re.findall("<caption>([^<]*)", page)
    assert captions == ["one", "one · full", "one · half", "two", "two", "last"]
    assert "<caption>toy<" in sections([Section(3, "", **grid)], "toy")


def test_it_can_be_read_aloud(made):
    outline = Outline(made[0])
    levels = [int(tag[1]) for tag, _ in outline.seen if re.fullmatch(r"h\d", tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(image["alt"] for image in outline.of("img"))
    assert len(outline.of("caption")) == len(outline.of("table"))
    assert all(text.strip() for text in outline.texts["caption"])
    assert {cell.get("scope") for cell in outline.of("th")} <= {"col", "row"}
    assert outline.of("html") == [{"lang": "en"}]


def test_light_dark_phone_and_paper(made):
    page, _, _ = made
    for wanted in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem", 'name="viewport"'):
        assert wanted in page


def test_what_it_tells(made):
    page, images, _ = made
    for wanted in (
        "Audit: 1 pass, 1 DECLARED",
        "fusionbench run toy-suite",
        "How to read this",
        "n_failed",
        "file.csv",
    ):
        assert wanted in page
    assert all(f'<figure id="{image.name}">' in page for image in images if isinstance(image, EmbeddedImage))
    reasons = [image.reason for image in images if isinstance(image, Omitted)]
    assert reasons
    assert all(f": {reason}." in page for reason in reasons)
    assert re.search(r'<td class="tied">.*<sup title="tie group a">a</sup>', page)


def test_links_lead_to_headings(made):
    outline = Outline(made[0])
    anchors = {str(attrs["id"]) for _, attrs in outline.seen if "id" in attrs}
    links = [str(link["href"]) for link in outline.of("a")]
    assert len(links) > 5
    assert {link.removeprefix("#") for link in links} <= anchors


def test_two_headings_of_one_name_keep_two_anchors(made):
    outline = Outline(made[0])
    found = [attrs["id"] for tag, attrs in outline.seen if tag == "h2"]
    assert len(set(found)) == len(found)


def test_every_figure_is_a_file_twice_and_old_ones_go(made, tmp_path):
    _, images, store = made
    names = {image.name for image in images if isinstance(image, EmbeddedImage)}
    files = {path.name for path in (store.folder / "figures").iterdir()}
    assert files == {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    other = Store(tmp_path, "other")
    (other.folder / "figures").mkdir(parents=True)
    (other.folder / "figures" / "forest.svg").write_text("old")
    assert list(write_figures([Omitted("Forest", "one row")], other)) == [Omitted("Forest", "one row")]
    assert list((other.folder / "figures").iterdir()) == []


def test_without_an_audit_it_says_why():
    frames = everything(2, 1)
    page = report(analysed(frames), lock_of(frames), [], "the data of <x> are not here", Origin("run"))
    assert "Not audited here: the data of &lt;x&gt; are not here." in page


def test_a_published_run_tells_how_it_was_made(tmp_path):
    (tmp_path / "run.toml").write_text('command = "fusionbench run x --seed 3"\ncompute_minutes = 2.5\n')
    origin = Origin.read(tmp_path, "other")
    assert (origin.command, dict(origin.about)) == ("fusionbench run x --seed 3", {"compute_minutes": 2.5})
    (tmp_path / "run.toml").write_text("command =")
    with pytest.raises(ResultsError, match=r"run\.toml"):
        Origin.read(tmp_path, "other")


def test_long_cells_break_and_first_cells_name_their_line():
    text = table("c", ("a", "b"), [(Entry("x"), Entry("long " * 20))])
    assert '<th scope="row">x</th>' in text
    assert 'class="long"' in text
    sets = table("c", ("a",), [(Entry("a+b"),), (Entry("clinical+pathological+blood+icd+cell-density"),)])
    assert '<th scope="row">a+b</th>' in sets
    assert "clinical+<wbr>pathological+<wbr>blood" in sets
    assert '<table class="sortable">' in sets
    assert 'class="sortable broad"' in table("c", [str(i) for i in range(15)], [])


def test_long_names_are_as_short_as_in_figures_with_the_whole_name_under_the_pointer():
    long, other = (f"healnet[{'a_rather_long_option=' * 3}{n}]" for n in (1, 2))
    text = table("c", ("model", "modalities"), [entries(long, "a"), entries("cox", "a")])
    short = shortened(long, NAME)
    assert "\N{HORIZONTAL ELLIPSIS}" in short
    assert f'title="{long}">{short.replace("[", "<wbr>[")}</th>' in text
    middle = long[:30] + "!" + long[31:]
    assert shortened(middle, NAME) == short, "the ellipsis hides where they differ"
    both = table("c", ("model",), [entries(long), entries(middle)])
    assert short.replace("[", "<wbr>[") not in both
    assert long.replace("[", "<wbr>[") in both
    assert shortened(other, NAME) != short
    rule = table("c", ("rule",), [entries(long)])
    assert long.replace("[", "<wbr>[") in rule, "only names of models"


def test_figures_of_several_panels_have_a_narrow_form(made):
    page, images, _ = made
    stacked = [image for image in images if isinstance(image, EmbeddedImage) and image.narrow]
    assert stacked
    assert all(image.narrow_width < image.width for image in stacked)
    assert page.count('<source media="(max-width: 40rem)"') == len(stacked)


def test_the_front_page_leads_to_reports_and_says_what_is_missing(tmp_path):
    folder = tmp_path / "toy suite"
    folder.mkdir()
    lock = '[datasets]\n[suite]\ntitle = "A <b>"\nseed = 0\n[suite.protocol]\nrepeats = 1\n'
    (folder / "suite.lock.toml").write_text(lock)
    columns = {"dataset": "d", "modalities": "a", "variant": "base", "metric": "harrell_c_index", "pattern": "full"}
    rows = pd.DataFrame(
        {"model": ["x", "y", "oracle"], "mean": [0.6, 0.7, 0.9], "ci_low": "", "ci_high": "", "n_cases": 9}
    )
    rows.assign(**columns).to_csv(folder / "table.csv", index=False)
    page = front_page(tmp_path, ["toy suite", "bad"], {"bad": "no finished cell"})
    assert Outline(page).open == []
    assert 'href="toy%20suite/report.html"' in page
    assert "A &lt;b&gt;" in page
    assert "0.700" in page
    assert "No report: no finished cell." in page


def test_it_begins_with_facts_verdict_and_best_rows(made):
    page = made[0]
    first = page[: page.index("<nav")]
    assert "patients, " in first
    assert "median follow-up" in first
    assert "the best single modality" in first
    assert "best rows of " in first
    assert "<figure" not in first
    order = [page.index(text) for text in ("<nav", ">Figures<", ">All rows, metrics and patterns<", ">Audit<")]
    assert order == sorted(order)


def test_a_mark_shows_its_values_where_it_is_drawn(made):
    page, images, _ = made
    forest = next(image for image in images if image.name.startswith("forest"))
    assert forest.marks
    assert all(0 < mark.x < forest.width and 0 < mark.y < forest.height for mark in forest.marks)
    assert all(re.search(r" on .*: \d\.\d{3}", mark.text) for mark in forest.marks)
    best = max(forest.marks, key=lambda mark: float(re.findall(r"\d\.\d{3}", mark.text)[0]))
    assert best.x == max(mark.x for mark in forest.marks if abs(mark.x - best.x) < forest.width / 2)
    assert f"<title>{best.text.split(':')[0]}" in page


def test_what_is_not_drawn_stands_in_one_paragraph_below_the_figures(made):
    page = made[0]
    assert page.count('class="omitted"') == 1
    assert page.index('class="omitted"') > page.rindex("<figure")
