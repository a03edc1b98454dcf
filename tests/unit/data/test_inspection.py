"""What `data check` says of a cohort: the facts, and each warning on a cohort that has its cause."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from sksurv import datasets as published

from fusionbench import Case, Dataset, DatasetInfo, Fold, ModalityUse, Options, SurvivalTarget
from fusionbench.builtin.bag import Bag
from fusionbench.builtin.vector import Vector
from fusionbench.data.inspection import Inspection, examine
from fusionbench.data.inspection.checks import check_censorship, like_outcome
from fusionbench.data.inspection.leakage import (
    REVEALING,
    concordance,
    constant,
    filled_by_event,
    predicts_event,
    predicts_time,
    pure_level,
    time_pairs,
)
from fusionbench.data.inspection.summary import lines, median_follow_up

N = 60


class Plain(Dataset):
    """Sixty cases whose parts a test can change."""

    name = "plain"
    columns: tuple[str, ...] = ("age", "size")
    categorical: frozenset[str] = frozenset()
    case_list: Sequence[Case] = ()
    published: Sequence[Fold] | None = None

    def info(self) -> DatasetInfo:
        uses = {
            "table": ModalityUse("vector", len(self.columns), features=self.columns, categorical=self.categorical),
            "tiles": ModalityUse("bag", 3),
        }
        return DatasetInfo("Plain", uses, notes=("a note",))

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        return self.case_list

    def folds(self) -> Sequence[Fold] | None:
        return self.published


def targets(seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    death, end = rng.exponential(30, N), rng.uniform(10, 90, N)
    return np.minimum(death, end), death <= end


def plain(extra: NDArray[Any] | None = None, column: str = "extra", **changes: Any) -> Plain:
    """With one more column, or other parts."""
    rng = np.random.default_rng(1)
    time, event = changes.pop("targets", targets())
    table = rng.normal(size=(N, 2))
    table[rng.random((N, 2)) < 0.1] = np.nan
    dataset = Plain(Options(), Path("nowhere"))
    if extra is not None:
        table = np.column_stack([table, extra])
        dataset.columns = (*Plain.columns, column)
    dataset.case_list = [
        Case(f"c{i:02d}", f"c{i:02d}", SurvivalTarget(float(time[i]), bool(event[i])), {"table": table[i]})
        for i in range(N)
    ]
    bags = {i: {"tiles": rng.normal(size=(2 + i % 3, 3))} for i in range(0, N, 2)}
    dataset.case_list = [replace(c, refs={**c.refs, **bags.get(i, {})}) for i, c in enumerate(dataset.case_list)]
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def kinds(dataset: Plain) -> list[tuple[str, str]]:
    return [(w.kind, w.text) for w in look(dataset).warnings]


def look(dataset: Plain) -> Inspection:
    return examine(dataset, {"vector": Vector, "bag": Bag})


def test_nothing_is_suspicious_about_a_plain_cohort() -> None:
    assert kinds(plain()) == []


def test_facts() -> None:
    time, event = targets()
    facts = look(plain()).facts
    assert facts is not None
    assert (facts.cases, facts.groups, facts.events, facts.complete) == (N, N, event.sum(), N // 2)
    assert facts.follow_up.longest == time.max()
    table, tiles = facts.modalities
    assert (table.kind, table.width, table.have, table.lack, table.instances) == ("vector", 2, N, 0, None)
    assert table.missing_cells == pytest.approx(0.1, abs=0.08)
    assert (tiles.kind, tiles.have, tiles.lack, tiles.missing_cells, tiles.instances) == (
        "bag",
        30,
        30,
        None,
        (2, 3, 4),
    )
    said = list(lines(facts))
    assert said[0] == "plain: Plain"
    assert said[-1] == "a note"


def test_median_follow_up_is_the_kaplan_meier_median_of_being_censored() -> None:
    """By hand: 1 censored of 4 at risk, an event, 1 of 2, 1 of 1."""
    time, event = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, False])
    assert median_follow_up(time, event) == 3.0
    assert median_follow_up(time, np.array([True, True, True, True])) is None
    assert median_follow_up(time, np.array([False, True, True, True])) is None


def outcome() -> NDArray[Any]:
    return targets()[1].astype(float)


PLAIN = np.random.default_rng(2).normal(size=N)
COLUMNS: dict[str, Callable[[], Plain]] = {
    "predicts-event": lambda: plain(np.where(outcome() > 0, 5.0, 1.0) + np.abs(PLAIN) / 10),
    "filled-by-event": lambda: plain(np.where(outcome() > 0, PLAIN, np.nan)),
    "predicts-time": lambda: plain(targets()[0] * 30 + PLAIN),
    "named-like-outcome": lambda: plain(PLAIN, "OS_months"),
    "constant": lambda: plain(np.where(PLAIN > 1, np.nan, 4.0)),
    "id-like": lambda: plain(np.arange(N) * 1.0, categorical=frozenset({"extra"})),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_suspicious_column_is_named(kind: str) -> None:
    found = [(k, text) for k, text in kinds(COLUMNS[kind]()) if k != "constant" or kind == "constant"]
    assert [k for k, _ in found] == [kind]
    assert "table: 1 column " in found[0][1]
    assert "'extra'" in found[0][1] or "'OS_months'" in found[0][1]


def test_a_column_that_mirrors_the_event_the_othercheck_censorship() -> None:
    assert [k for k, _ in kinds(plain(1 - outcome()))] == ["predicts-event"]


def test_levels_that_are_pure() -> None:
    """Codes without order: 1 and 3 had the event, 0 and 2 not; no threshold divides them."""
    levels = np.where(outcome() > 0, np.where(PLAIN > 0, 1.0, 3.0), np.where(PLAIN > 0, 0.0, 2.0))
    assert pure_level(levels[:, np.newaxis], outcome() > 0).all()


def test_what_chance_can_do_is_not_accused() -> None:
    """Among 3,000 columns of 10 cases some divide the events; among one there is none such by chance."""
    rng = np.random.default_rng(0)
    event = np.arange(10) < 3
    table = rng.normal(size=(10, 3000))
    table[:, 0] = event
    assert not predicts_event(table, event).any()
    assert not predicts_time(table, rng.random(10), event).any()
    many = np.arange(40) < 20
    assert predicts_event(np.column_stack([many, rng.normal(size=(40, 3000))]), many).tolist() == [True] + 3000 * [
        False
    ]


def test_concordance_is_that_of_all_pairs() -> None:
    """Drawn pairs against Harrell's c of scikit-survival, with gaps and ties."""
    from sksurv.metrics import concordance_index_censored

    rng = np.random.default_rng(3)
    time, event = rng.exponential(20, 150), rng.random(150) < 0.5
    table = np.column_stack([rng.normal(size=150), np.round(-time / 20 + rng.normal(size=150)), -time])
    table[::7, 0] = np.nan
    for column in table.T:
        known = ~np.isnan(column)
        expected = concordance_index_censored(event[known], time[known], column[known])[0]
        found, _ = concordance(column[known, np.newaxis], time_pairs(time[known], event[known]))
        assert found[0] == pytest.approx(expected, abs=0.006)  # five standard errors of 200,000 pairs


def test_a_concordance_above_and_below_the_limit() -> None:
    """Columns made to have a c just under and just over .85, in both directions, and by their absolute value."""
    rng = np.random.default_rng(5)
    time, event = rng.exponential(20, 800), rng.random(800) < 0.6
    noises = (0.2, 0.4, 0.8, 1.6)
    table = np.column_stack([sign * (np.log(time) + s * rng.normal(size=800)) for s in noises for sign in (1, -1)])
    c = concordance(table, time_pairs(time, event))[0]
    assert (np.abs(c - 0.5) > REVEALING - 0.5).any()
    assert (np.abs(c - 0.5) < REVEALING - 0.5).any()
    assert predicts_time(table, time, event).tolist() == (np.abs(c - 0.5) > REVEALING - 0.5).tolist()
    assert predicts_time((time * rng.choice([-1, 1], 800))[:, np.newaxis], time, event).all()


def test_whether_a_column_is_filled() -> None:
    """Filled for nine of ten events and one of ten others; for everybody at random; for a few events only."""
    rng = np.random.default_rng(6)
    event = rng.random(400) < 0.4
    mostly = np.where(rng.random(400) < np.where(event, 0.95, 0.05), 1.0, np.nan)
    random = np.where(rng.random(400) < 0.5, 1.0, np.nan)
    few = np.where(event & (rng.random(400) < 0.2), rng.normal(size=400), np.nan)
    assert filled_by_event(np.column_stack([mostly, random, few]), event).tolist() == [True, False, True]


def test_columns_with_gaps() -> None:
    time = np.arange(50.0)
    table = np.column_stack([time, -time, np.full(50, np.nan), np.ones(50)])
    table[::5, :2] = np.nan
    assert predicts_time(table, time, np.arange(50) % 2 == 0).tolist() == [True, True, False, False]
    assert constant(table).tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "os",
            "OS",
            "OS_months",
            "os.time",
            "dfs",
            "vital_status",
            "vitalStatus",
            "death",
            "days_to_death",
            "DeathDate",
        ),
        *("survival", "overall survival", "recurrence", "Follow-up", "follow_up_days", "FollowUp", "last contact"),
        *("Progression Free", "censored", "event", "time to treatment failure"),
    ],
)
def test_names_of_outcomes(name: str) -> None:
    assert like_outcome(name)


@pytest.mark.parametrize(
    "name",
    [
        "age",
        "OSM_rnaseq",
        "FANCD2OS",
        "FANCD2OS_rnaseq",
        "C1OS_mut",
        "DEDD",
        "most",
        "position",
        "er_status",
        "dose",
        "grade",
        "TP53_mut",
    ],
)
def test_names_of_something_else(name: str) -> None:
    assert not like_outcome(name)


def test_a_time_of_zero() -> None:
    time, event = targets()
    time[3] = 0
    [(kind, text)] = kinds(plain(targets=(time, event)))
    assert kind == "time-zero"
    assert "1 of 60 cases have a time of 0 ('c03')" in text


@pytest.mark.parametrize(("factor", "seen"), [(30.4, "days declared as months"), (1 / 30.4, "Months declared as days")])
def test_the_unit(factor: float, seen: str) -> None:
    time, event = targets()
    [(kind, text)] = kinds(plain(targets=(time * factor, event)))
    assert kind == "time-unit"
    assert seen.lower() in text.lower()
    assert text.endswith("correct `unit` under [outcome]: only who wrote the times knows it")


def test_censorship_the_wrongcheck_censorship() -> None:
    time, event = targets()
    [(kind, text)] = kinds(plain(targets=(time, ~event)))
    assert kind == "censorship-reversed"
    assert f"{int((~event).sum())} of 60 cases have the event, at a median time of " in text
    assert text.endswith("exchange `event` and `censorship` if 1 means censored. Only who wrote the column knows")


@pytest.mark.parametrize(
    ("cohort", "found"),
    [("gbsg2", True), ("whas500", True), ("aids", True), ("flchain", True), ("veterans_lung_cancer", False)],
)
def test_the_rule_on_published_cohorts(cohort: str, found: bool) -> None:
    """As published none gets a warning; exchanged, all but the one in which nearly everybody died."""
    _, y = getattr(published, f"load_{cohort}")()
    event, time = (y[name] for name in y.dtype.names)
    assert not list(check_censorship(time.astype(float), event))
    assert bool(list(check_censorship(time.astype(float), ~event))) is found


def test_groups_astride_published_folds() -> None:
    dataset = plain()
    dataset.case_list = [replace(c, group=f"g{i % 7}") for i, c in enumerate(dataset.case_list)]
    ids = [c.id for c in dataset.case_list]
    dataset.published = [Fold(tuple(ids[2:]), (), tuple(ids[:2]))]
    [(kind, text)] = kinds(dataset)
    assert kind == "group-astride"
    assert "1 of 1 published folds have groups in both train and test, fold 0 'g0', 'g1'; " in text
    assert text.endswith("correct the published folds, or take fold_source = 'generated'")
    by_group = [[c.id for c in dataset.case_list if (c.group == "g0") is test] for test in (False, True)]
    dataset.published = [Fold(tuple(by_group[0]), (), tuple(by_group[1]))]
    assert kinds(dataset) == []


def test_few_groups_and_cases_without_anything() -> None:
    dataset = plain()
    dataset.case_list = [replace(c, group=f"g{i % 3}") for i, c in enumerate(dataset.case_list)]
    dataset.case_list[5] = replace(dataset.case_list[5], refs={})
    few, none = look(dataset).warnings
    assert (few.kind, none.kind) == ("few-groups", "no-modality")
    assert few.text.endswith("name a finer column under `group`, or ask for fewer folds in the suite")


def test_a_warning_is_answered_by_a_key_or_says_in_words_what_to_do() -> None:
    """The kinds without keys are those about which only a person or the suite can decide; each says so above."""
    time, event = targets()
    grouped = plain()
    grouped.case_list = [replace(c, group=f"g{i % 3}") for i, c in enumerate(grouped.case_list)]
    ids = [c.id for c in grouped.case_list]
    grouped.published = [Fold(tuple(ids[2:]), (), tuple(ids[:2]))]
    cohorts = [
        *(make() for make in COLUMNS.values()),
        plain(targets=(time, ~event)),
        plain(targets=(time * 30.4, event)),
        grouped,
    ]
    found = [warning for cohort in cohorts for warning in look(cohort).warnings]
    assert {w.kind for w in found if not w.fixes} == {"censorship-reversed", "time-unit", "few-groups", "group-astride"}
    assert {w.kind for w in found if w.fixes} >= set(COLUMNS)


def test_values_that_only_a_whole_reading_finds(tmp_path: Path) -> None:
    dataset = plain()
    for i in (0, 2):
        path = tmp_path / f"{i}.npy"
        np.save(path, np.full((2, 3), np.nan))
        dataset.case_list[i] = replace(dataset.case_list[i], refs={"tiles": path})
    found = look(dataset)
    assert [line[:34] for line in found.problems] == [
        f"case 'c0{i}', modality 'tiles': {tmp_path}"[:34] for i in (0, 2)
    ]
    assert found.facts is not None
    assert found.facts.modalities[1].have == 28  # the others are looked at, nevertheless
