"""Several cohorts together: who leads, by how much, and how much cohorts differ."""

from __future__ import annotations

import numpy as np
import pytest

from fusionbench.report.analysis import Analysis, analyse
from fusionbench.report.document import Section
from fusionbench.report.findings.pooled import pooled_sections
from fusionbench.report.paired import paired_test
from fusionbench.survival.stats import random_effects
from tests.unit.stored_results import DIRECTIONS, make_frames


def made(n: int, **options: object) -> Analysis:
    frames = make_frames({"good": 2.0, "fair": 1.0, "none": 0.0}, datasets=[f"d{i}" for i in range(n)], **options)  # type: ignore[arg-type]
    return analyse(frames, directions=DIRECTIONS, seed=0, draws=20)


def sections(analysis: Analysis) -> list[Section]:
    return list(pooled_sections(analysis, {}))


def texts(section: Section) -> list[list[str]]:
    return [[entry.text for entry in line] for line in section.lines]


def test_one_cohort_says_nothing_together() -> None:
    assert sections(made(1)) == []


def test_the_pooled_difference_is_hartung_and_knapps() -> None:
    analysis = made(3, cases=200)
    (section,) = sections(analysis)
    assert section.title == "3 cohorts together"
    rows = texts(section)
    assert [row[0] for row in rows] == ["good", "fair", "none"]
    gaps, variances = [], []
    for dataset in ("d0", "d1", "d2"):
        good, none = ((dataset, model, "a+b", "base") for model in ("good", "none"))
        test = paired_test(
            analysis.stored,
            good,
            *(analysis.values[row, "full", "harrell_c_index"] for row in (good, none)),
        )
        gaps.append(test.difference)
        variances.append(test.se**2)
    expected = random_effects(gaps, variances)
    assert rows[2][3] == f"{expected.mean:+.3f} [{expected.low:+.3f}, {expected.high:+.3f}]"
    assert rows[2][5] == f"{expected.i2:.0%}"
    assert expected.mean > 0.1


def test_ranks_stand_below_from_six_cohorts_on() -> None:
    assert [s.title for s in sections(made(5))] == ["5 cohorts together"]
    pooled, ranks = sections(made(6))
    assert ranks.title == "Ranks over cohorts"
    rows = texts(ranks)
    assert [row[0] for row in rows] == ["good", "fair", "none"]
    assert float(rows[0][2]) == pytest.approx(1.0, abs=0.5)
    assert rows[0][3] == "-"
    assert "Iman and Davenport's F" in ranks.notes[0]
    assert np.isclose(sum(float(row[2]) for row in rows), 6.0, atol=0.02)
    assert pooled.lines


def test_variants_are_told_apart() -> None:
    titles = [s.title for s in sections(made(2, variants=("base", "l1")))]
    assert titles == ["2 cohorts together", "2 cohorts together, l1"]
