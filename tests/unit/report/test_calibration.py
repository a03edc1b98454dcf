"""The calibration in small, and what its published figures say."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from fusionbench.survival.stats import harrell_c
from tests.calibration import __main__ as command
from tests.calibration import experiments, speed
from tests.calibration.experiments import Rows
from tests.calibration.figures import Figure, parts, read_report, share
from tests.calibration.fixed import compared
from tests.calibration.population import NOISE, SETTINGS, Population, censoring_for, noise_for, true_c
from tests.calibration.scale import LOSS, QUICK, Scale, spread
from tests.calibration.trained import trained

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "results" / "published" / "calibration"
SMALL = Scale(replicates=250, draws=400, pairs=2_000_000, leeway=3)


def value(figures: list[Figure], part: str, name: str) -> float:
    return next(f.value for f in figures if f.part.startswith(part) and f.name.startswith(name))


@pytest.mark.slow
def test_the_null_in_small() -> None:
    """Two equal copies differ by chance in 5 % of samples, and the interval of one covers its true c in 95 %."""
    figures = experiments.null(SMALL)
    assert [f.row() for f in figures if f.verdict == "MISS"] == []
    assert len([f for f in figures if f.verdict == "pass"]) == 6


@pytest.mark.slow
def test_a_difference_is_found_more_often_than_none() -> None:
    figures = experiments.power(replace(SMALL, replicates=100, pairs=500_000))
    for setting in SETTINGS:
        part = f"Power: {setting.name}"
        assert value(figures, part, "true difference") == pytest.approx(LOSS, abs=1e-3)
        assert value(figures, part, "interval of the difference lies above 0") > 0.05


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_population_is_what_it_is_said_to_be(setting) -> None:
    population = Population(censoring_for(setting.censored, 200_000))
    sample = population.draw(6000, np.random.default_rng(0))
    assert 1 - sample.event.mean() == pytest.approx(setting.censored, abs=0.02)
    from_pairs = true_c(population, 500_000)
    assert from_pairs[0] == pytest.approx(from_pairs[1], abs=0.005)
    assert from_pairs[0] == pytest.approx(harrell_c(sample.time, sample.event, sample.risks[0]), abs=0.02)


def test_more_noise_makes_the_wanted_difference() -> None:
    noise = noise_for(LOSS, 0.61, 500_000)
    usual, noisy = true_c(Population(0.61, (NOISE, noise)), 500_000)
    assert usual - noisy == pytest.approx(LOSS, abs=1e-3)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_sample_is_compared_as_a_table_compares(setting) -> None:
    population = Population(0.3)
    made = compared(3, setting, population, draws=50)
    assert made == pytest.approx(compared(3, setting, population, draws=50), nan_ok=True)
    assert made.c_low < made.c < made.c_high
    assert math.isnan(made.p) == (setting.folds == 1)
    same = compared(3, setting, Population(0.3, (0.0, 0.0)), draws=50)
    assert same.low == same.high == 0, "without noise both are the true risk"


@pytest.mark.slow
def test_seeds_have_their_results_whoever_computes_them() -> None:
    of_seed = partial(compared, setting=SETTINGS[0], population=Population(0.61), draws=20)
    assert np.allclose(spread(of_seed, 4, jobs=2), spread(of_seed, 4, jobs=1), equal_nan=True)


def test_draws_are_what_scikit_survival_says_of_the_drawn_patients() -> None:
    assert speed.timed(draws=20, looped=3).gap <= experiments.EXACT
    assert speed.gap_at_unit_weights(20) <= experiments.EXACT


def test_draws_are_matrices() -> None:
    """No more calls for more draws, so there is no loop over them."""
    sample = speed.patients()
    speed.matrices(sample, 2)  # what is imported or cached on first use
    assert calls(partial(speed.matrices, sample, 200)) == calls(partial(speed.matrices, sample, 20))


def calls(function: Callable[[], object]) -> int:
    """Functions called, Python's and C's."""
    seen: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: seen.append(event) if event in ("call", "c_call") else None)
    try:
        function()
    finally:
        sys.setprofile(before)
    return len(seen)


@pytest.mark.slow
def test_rows_of_which_none_is_better_differ_by_their_seeds_alone() -> None:
    once, again = trained(0, epochs=3, draws=50), trained(0, epochs=3, draws=50)
    assert np.array_equal(once.values, again.values)
    assert once.values.shape == (3, 5)
    assert once.ratio == pytest.approx(24 / 96)
    gaps = np.abs(once.values[0] - once.values).mean(axis=1)
    assert 0 < gaps[1] < gaps[2], "under two seeds a table is closer to itself than to the other table"


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_variance_beyond_independent_folds_is_found(shared: float) -> None:
    """With a part common to all folds of a suite, correlated by rho, x = rho / (1 - rho)."""
    rng = np.random.default_rng(0)
    differences = rng.normal(size=(4000, 5)) + shared * rng.normal(size=(4000, 1))
    rows = Rows(differences, 0.25, [False] * 4000)
    figures = experiments._t_tests("part", rows, at_most=0.05)
    assert value(figures, "part", "variance") == pytest.approx(shared**2, abs=0.04)
    plain, corrected = (value(figures, "part", f"{kind} t-test") for kind in ("plain", "corrected"))
    assert corrected < plain
    assert (plain < 0.06) == (shared == 0)


def test_a_figure_says_what_is_wanted_and_whether_it_is_so() -> None:
    rate = share("part", "rejected", [True] * 5 + [False] * 95, 0.035, 0.065)
    assert rate.row() == "| rejected | 5.0 % | 2.2 % | 3.5 % to 6.5 % | pass |"
    assert share("part", "rejected", [False] * 100, 0.035, 0.065).verdict == "MISS"
    assert Figure("part", "time", 2.5, "seconds", high=2).row() == "| time | 2.50 s |  | at most 2.00 s | MISS |"
    assert Figure("part", "ratio", 300, "times").verdict == ""


def test_the_command_writes_what_it_prints_and_says_if_a_figure_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [Figure("part", "time", 2.5, "seconds", high=2), Figure("part", "c", 0.1 + 0.2, "c", error=1 / 3)]

    def experiment(scale: Scale, jobs: int) -> list[Figure]:
        assert scale == QUICK
        return made

    monkeypatch.setattr(command, "EXPERIMENTS", {"one": experiment})
    assert command.main(["--quick", "--out", str(tmp_path / "new" / "file.md")]) == 1
    written = (tmp_path / "new" / "file.md").read_text(encoding="utf-8")
    assert written.strip() == capsys.readouterr().out.strip()
    report = read_report((tmp_path / "new" / "file.json").read_text(encoding="utf-8"))
    assert list(report.figures) == made
    assert report.as_markdown() == written


published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="not published")


@pytest.mark.parametrize("name", ["calibration", "classes"])
@published
def test_published_figures_are_those_of_the_full_scale_and_within_their_ranges(name: str) -> None:
    report = read_report((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))
    assert report.about["scale"] == vars(Scale())
    assert [figure.row() for figure in report.figures if figure.verdict == "MISS"] == []
    assert report.as_markdown() == (PUBLISHED / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["calibration", "classes"])
@published
def test_the_document_shows_the_published_figures(name: str) -> None:
    report = read_report((PUBLISHED / f"{name}.json").read_text(encoding="utf-8"))
    document = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    for part, table in parts(report.figures).items():
        assert f"{part}:\n\n{table}" in document, f"docs/statistics.md should show\n{part}:\n\n{table}"
    assert report.about["command"] in document
