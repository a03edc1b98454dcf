"""`fusionbench report` on a run, on what is published, and on bad input; the page in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from fusionbench.core.registry import discover
from fusionbench.session import Session
from fusionbench.suites.selection import Selection
from tests.browser import CHROMIUM, FLAGS, browser, kept, needs_chromium, needs_driver
from tests.conftest import EXAMPLE, Cli

PUBLISHED = Path(__file__).parents[2] / "results" / "published"
LARGEST = 5 * 2**20


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results root of one fold, without a report."""
    root = tmp_path_factory.mktemp("ran")
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(EXAMPLE)
        session = Session(out=root / "results", device="cpu", registry=discover())
        assert not session.run("example-tiny", Selection(folds="0"), track=False).failed
    return root / "results"


@pytest.fixture(scope="module")
def page(ran: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of those results, to be looked at in a browser."""
    root = Path(shutil.copytree(ran, tmp_path_factory.mktemp("reported") / "results"))
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(EXAMPLE)
        Session(out=root, device="cpu", registry=discover()).report("example-tiny")
    return root / "example-tiny/report.html"


@pytest.fixture
def tiny(cli: Cli, ran: Path) -> Path:
    """The folder of the suite in a copy of those results."""
    shutil.copytree(ran, "results")
    return Path("results/example-tiny")


def test_a_partial_run_has_a_report(cli: Cli, tiny: Path) -> None:
    result = cli("report", "example-tiny")
    assert result.returncode == 0, result.stderr
    page = (tiny / "report.html").read_text(encoding="utf-8")
    assert result.stdout.strip() == f"report: {tiny / 'report.html'}"
    assert "have not run yet" in page
    assert "training time of a fold" in page, "costs are read from the cells"
    assert {path.suffix for path in (tiny / "figures").iterdir()} == {".png", ".svg"}


def test_a_complete_run_has_a_front_page(cli: Cli) -> None:
    assert cli("run", "example-tiny", "--no-track").returncode == 0
    result = cli("report", "--all")
    assert result.returncode == 0, result.stderr
    front = Path("results/index.html").read_text(encoding="utf-8")
    assert 'href="example-tiny/report.html"' in front
    page = Path("results/example-tiny/report.html").read_text(encoding="utf-8")
    assert "have not run yet" not in page
    assert "Audit: " in page


def test_what_is_published_has_its_report(cli: Cli) -> None:
    assert cli("run", "example-tiny", "--no-track").returncode == 0
    result = cli("publish", "example-tiny")
    assert result.returncode == 0, result.stderr
    published = Path("results/published/example-tiny/report.html")
    assert "fusionbench run example-tiny" in published.read_text(encoding="utf-8")
    first = published.read_bytes()
    assert cli("report", "example-tiny", "--out", "results/published").returncode == 0
    assert published.stat().st_size > 0.9 * len(first), "what is published is enough to make it again"
    assert "training time of a fold" in published.read_text(encoding="utf-8")


def test_a_report_is_the_same_twice(cli: Cli, tiny: Path) -> None:
    made = []
    for _ in range(2):
        assert cli("report", "example-tiny").returncode == 0
        made.append((tiny / "report.html").read_bytes())
    assert made[0] == made[1]


def test_bad_requests(cli: Cli) -> None:
    assert "name one suite, or say --all" in cli("report").stderr
    assert "name one suite, or say --all" in cli("report", "quickstart", "--all").stderr
    unknown = cli("report", "quickstar")
    assert unknown.returncode == 2
    assert "quickstart" in unknown.stderr
    assert "nothing has been run" in cli("report", "quickstart").stderr
    assert "no results under" in cli("report", "--all").stderr


def test_a_suite_without_a_finished_cell(cli: Cli, tiny: Path) -> None:
    for cell in (tiny / "cells").iterdir():
        shutil.rmtree(cell)
    result = cli("report", "example-tiny")
    assert result.returncode == 2
    assert "no finished cell" in result.stderr
    everything = cli("report", "--all")
    assert everything.returncode == 0
    assert "no report of example-tiny" in everything.stdout
    assert "No report: " in Path("results/index.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("suite", sorted(p.parent.name for p in PUBLISHED.glob("*/table.csv")))
def test_published_results_have_a_report_without_data(
    cli: Cli, suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSIONBENCH_DATA", str(tmp_path / "nothing"))
    shutil.copytree(PUBLISHED / suite, tmp_path / "published" / suite)
    started = time.perf_counter()
    result = cli("report", suite, "--out", "published")
    seconds = time.perf_counter() - started
    assert result.returncode == 0, result.stderr
    page = tmp_path / "published" / suite / "report.html"
    print(f"{suite}: {page.stat().st_size / 2**20:.2f} MB in {seconds:.1f} s")
    assert page.stat().st_size < LARGEST
    assert "Audit: " in page.read_text(encoding="utf-8")


PROBE = """<script>
window.addEventListener("load", () => {
  const table = document.querySelector("table.sortable");
  const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
  const seen = {before: column(2)};
  const buttons = table.querySelectorAll("thead button");
  buttons[2].click(); seen.falling = column(2); seen.sort = buttons[2].parentElement.getAttribute("aria-sort");
  buttons[2].click(); seen.rising = column(2);
  buttons[0].click(); seen.names = column(0);
  seen.images = [...document.images].map((image) => image.naturalWidth);
  seen.wide = document.documentElement.scrollWidth - window.innerWidth;
  seen.dark = getComputedStyle(document.body).backgroundColor;
  const told = document.createElement("pre");
  told.id = "probe"; told.textContent = JSON.stringify(seen);
  document.body.append(told);
});
</script>"""


def browse(page: Path, *flags: str) -> str:
    """What headless Chromium makes of a page: its DOM after scripts, or what the flags ask for."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    command = [CHROMIUM, *FLAGS, profile, *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("window", ["1280,900", "500,900"])
def test_the_page_in_a_browser(page: Path, tmp_path: Path, window: str) -> None:
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    dom = browse(probed, f"--window-size={window}", "--dump-dom")
    told = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.DOTALL)
    assert told is not None
    seen = json.loads(told.group(1))
    values = [float(text.split()[0]) for text in seen["falling"] if text[:1].isdigit()]
    assert values == sorted(values, reverse=True)
    assert seen["sort"] == "descending"
    assert [float(text.split()[0]) for text in seen["rising"] if text[:1].isdigit()] == sorted(values)
    assert sorted(seen["before"]) == sorted(seen["falling"])
    assert seen["names"] == sorted(seen["names"])
    assert len(seen["images"]) > 3
    assert all(wide > 100 for wide in seen["images"]), "every figure is there"
    assert seen["wide"] <= 0, "tables and figures scroll in themselves, the page does not"
    picture = kept(tmp_path) / f"report-{window.replace(',', '-')}.png"
    browse(probed, f"--window-size={window}", f"--screenshot={picture}")
    assert picture.stat().st_size > 10_000


READABLE = """
const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = parts(getComputedStyle(e).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const faults = [];
for (const e of document.querySelectorAll("main *")) {
  const own = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  if (!own || !e.checkVisibility() || e.closest("svg, details")) continue;
  const style = getComputedStyle(e);
  const [a, b] = [luminance(parts(style.color)), luminance(behind(e))].sort((x, y) => y - x);
  const told = `${e.tagName} ${e.textContent.trim().slice(0, 40)}`;
  if ((a + 0.05) / (b + 0.05) < 4.5) faults.push(`contrast ${((a + 0.05) / (b + 0.05)).toFixed(2)}: ${told}`);
  if (parseFloat(style.fontSize) < 10) faults.push(`${style.fontSize}: ${told}`);
}
return [document.documentElement.scrollWidth - document.documentElement.clientWidth, faults.slice(0, 9)];
"""


IN_BOXES = """
const boxes = [...document.querySelectorAll("figure .wide, .verdict + .wide")];
return boxes.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.getAttribute("aria-label"));
"""


@pytest.mark.slow
@needs_driver
def test_it_can_be_read_on_a_desk_and_a_phone_by_day_and_by_night(page: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as window:
        for width in (1300, 390):
            for dark in (False, True):
                window.emulate(width, 900, dark=dark)
                window.open(page.as_uri())
                beside, faults = window.run(READABLE)
                window.screenshot(f"report {width} {'dark' if dark else 'light'}")
                assert window.run(IN_BOXES) == [], f"{width}: figures or best rows scroll in their boxes"
                assert beside <= 0, f"{width}: scrolls sideways by {beside} px"
                assert faults == [], f"{width} {dark}"
        window.run(
            "const box = document.querySelector('input.filter'); if (box) { box.value = 'cox';"
            "box.dispatchEvent(new Event('input')); }"
        )
        shown = window.run(
            "return [...document.querySelectorAll('input.filter')].slice(0, 1).map((box) => "
            "[...box.nextElementSibling.querySelectorAll('tbody tr')].filter((row) => !row.hidden)"
            ".every((row) => row.textContent.includes('cox')))"
        )
        assert shown == [True]
