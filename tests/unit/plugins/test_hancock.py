"""HANCOCK: the counts of the real files (marker data), and bad files."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fusionbench_hancock import tables, tiles
from fusionbench_hancock.dataset import Hancock

from fusionbench import DataError, SuiteError
from tests.unit.plugins.real_cohorts import assert_cases_are_read_and_travel, real_home

TABLES = ("clinical", "pathological", "blood", "icd", "cell-density")


@pytest.fixture(scope="session")
def home() -> Path:
    return real_home("hancock")


@cache
def hancock(home: Path, **options: object) -> Hancock:
    """Shared: a dataset reads its files once and changes nothing."""
    return Hancock(Hancock.Options.model_validate(options), home)


@pytest.mark.data
def test_overall_survival_counts(home: Path) -> None:
    cases = hancock(home).cases()
    days = np.array([c.target.time for c in cases]) * tables.DAYS_PER_MONTH
    dead = np.array([c.target.event for c in cases])
    assert (len(cases), int(dead.sum())) == (763, 213)
    assert round(1 - dead.mean(), 3) == 0.721
    assert (round(days.min()), round(days.max())) == (9, 5163)
    cuts = np.quantile(days[dead], [0.25, 0.5, 0.75])
    assert cuts.round().tolist() == [367, 752, 1492]
    assert np.bincount(np.digitize(days, cuts)).tolist() == [140, 115, 188, 320]
    assert [c.id for c in cases] == sorted(c.id for c in cases)
    assert all(c.group == c.id for c in cases)


@pytest.mark.data
def test_recurrence_free_survival_is_clipped_and_said_so(home: Path) -> None:
    dataset = hancock(home, endpoint="rfs")
    cases = dataset.cases()
    assert sum(c.target.event for c in cases) == 303
    assert sum(c.target.time == 1 / tables.DAYS_PER_MONTH for c in cases) == 12
    assert any(note.startswith("12 recurrence-free times") for note in dataset.info().notes)
    assert not any("clipped" in note for note in hancock(home).info().notes)


@pytest.mark.data
def test_missingness_is_that_of_the_clinic(home: Path) -> None:
    cases = hancock(home, tma="stains").cases()
    count = {m: sum(m in c.refs for c in cases) for m in hancock(home, tma="stains").info().modalities}
    assert {m: count[m] for m in TABLES} == {
        "clinical": 763,
        "pathological": 763,
        "blood": 692,
        "icd": 712,
        "cell-density": 736,
    }
    stains = {m: n for m, n in count.items() if m.startswith("tma-")}
    assert stains == {f"tma-{s.lower()}": {"CD3": 746, "CD163": 757}.get(s, 760) for s in tiles.STAINS}
    assert sum(len(c.refs) == 13 for c in cases) == 611
    assert sum(all(m in c.refs for m in TABLES) for c in cases) == 626
    assert sum("tma" in c.refs for c in hancock(home).cases()) == 760


@pytest.mark.data
def test_columns_cells_and_codes(home: Path) -> None:
    dataset = hancock(home)
    uses, cases = dataset.info().modalities, dataset.cases()
    assert {m: u.dim for m, u in uses.items()} == {
        "clinical": 4,
        "pathological": 15,
        "blood": 16,
        "icd": 40,
        "cell-density": 4,
        "tma": 264,
    }
    empty = {m: int(sum(np.isnan(c.refs[m]).sum() for c in cases if m in c.refs)) for m in TABLES}
    assert empty == {"clinical": 24, "pathological": 365 + 152 + 137, "blood": 0, "icd": 0, "cell-density": 130}
    assert uses["clinical"].categorical == {"smoking_status"}
    assert len(uses["pathological"].categorical) == 6
    site = uses["pathological"].features.index("primary_tumor_site")
    assert sum(c.refs["pathological"][site] == 4 for c in cases) == 331  # oropharynx


@pytest.mark.data
def test_tiles(home: Path) -> None:
    cases = {c.id: c for c in hancock(home).cases() if "tma" in c.refs}
    sizes = [len(c.refs["tma"]) for c in cases.values()]
    assert (min(sizes), max(sizes)) == (14, 16)  # 14: a stain is absent
    assert len(cases["653"].refs["tma"]) == 15  # a single CD3 tile
    for case in cases.values():
        bag = case.refs["tma"]
        assert bag.shape[1] == 264
        np.testing.assert_allclose(np.linalg.norm(bag[:, :256], axis=1), 1, atol=1e-4)
        assert (bag[:, 256:].sum(axis=1) == 1).all()
    apart = {c.id: c for c in hancock(home, tma="stains").cases()}
    np.testing.assert_array_equal(apart["653"].refs["tma-cd3"], cases["653"].refs["tma"][2:3, :256])
    np.testing.assert_array_equal(apart["001"].refs["tma-pdl1"], cases["001"].refs["tma"][14:, :256])


@pytest.mark.data
def test_modalities_take_every_case_and_cases_travel(home: Path) -> None:
    assert_cases_are_read_and_travel(hancock(home))


@pytest.mark.data
def test_there_are_no_slides(home: Path) -> None:
    with pytest.raises(SuiteError, match="no slides"):
        hancock(home).cases("slide")


def test_sources_are_pinned() -> None:
    sources = hancock(Path("nowhere")).sources()
    assert len(sources) == 14
    assert all(s.url.startswith("https://raw.githubusercontent.com/ankilab/HANCOCK") for s in sources)
    assert all(len(s.sha256) == 64 and s.size > 0 and not s.needs_accept for s in sources)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,a\n1,2\n", "no column patient_id"),
        ("patient_id,a\n001,2\n001,3\n", "patient 001 stands twice"),
        ("patient_id,a\n001,many\n", "must be numeric"),
    ],
)
def test_bad_tables(text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"t\.csv: .*{message}"):
        tables.read_table(text.encode(), "t.csv")


def test_targets_in_months() -> None:
    head = "patient_id,days_to_last_information,survival_status,days_to_rfs_event,rfs_event\n"
    data = (head + "001,60.875,living,-68,1\n002,30.4375,deceased,30.4375,0\n").encode()
    targets, clipped = tables.read_targets(data, "t.csv", "os")
    assert (targets["001"].time, targets["001"].event, clipped) == (2.0, False, 0)
    assert (targets["002"].time, targets["002"].event) == (1.0, True)
    targets, clipped = tables.read_targets(data, "t.csv", "rfs")
    assert (targets["001"].time, targets["001"].event, clipped) == (1 / 30.4375, True, 1)
    with pytest.raises(DataError, match="survival_status must be one of"):
        tables.read_targets(data.replace(b"living", b"unknown"), "t.csv", "os")


def test_a_single_tile_is_cut_out_of_its_padding() -> None:
    tile = np.arange(1, 257, dtype=np.float32)
    data = io.BytesIO()
    np.savez(data, **{"001": np.concatenate([tile, -tile]), "002": np.pad(tile, 128)})
    found = tiles.read_tiles(data.getvalue(), "t.npz")
    np.testing.assert_array_equal(found["001"], [tile, -tile])
    np.testing.assert_array_equal(found["002"], [tile])
    bags = tiles.joined({s: (found if s in ("HE", "CD8") else {}) for s in tiles.STAINS})
    assert bags["001"].shape == (4, 264)
    assert bags["002"][:, 256:].argmax(axis=1).tolist() == [0, 2]
