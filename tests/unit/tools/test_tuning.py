"""Searches: what may be searched, where it looks, what it keeps, and what a tuned suite becomes."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from fusionbench import Choice, Interval, PluginRef, SuiteError
from fusionbench.core.cell_result import CellResult, Score
from fusionbench.core.errors import DataError, FusionBenchError
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.registry import discover
from fusionbench.execution.fit_context import make_model
from fusionbench.suites.cell import Cell
from fusionbench.suites.suite_files import load_suite, parse_suite
from fusionbench.suites.tuned_options import Study, TunedOptions, TuningRecord, parse_record
from fusionbench.tools.tuning import output as writing
from fusionbench.tools.tuning.inner_folds import Objective, inner_cell, inner_folds
from fusionbench.tools.tuning.journal import JOURNAL, repair
from fusionbench.tools.tuning.space import check_space, default_point, read_space, space_of
from fusionbench.tools.tuning.study import Point, Search
from tests.unit.suites.test_plan import Toy, planned

REGISTRY = discover()
Scorer = Callable[[Point, int], float | str]
MAXIMISE = Objective("harrell_c_index", higher_is_better=True)
LINE = {"x": Interval(0.0, 1.0)}


def test_an_interval_is_whole_where_it_is_written_whole() -> None:
    assert Interval(1, 5).whole
    assert not Interval(1, 5.0).whole
    assert 3 in Interval(1, 5)
    assert 3.0 not in Interval(1, 5)
    assert 0.0 in Interval(0.0, 5e-4)
    assert True not in Interval(0, 5)
    assert (1, 2) in Choice(((1, 2), (3,)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Interval(2, 1), "must be below"),
        (lambda: Interval(0.0, 1.0, log=True), "begin above 0"),
        (lambda: Choice((1,)), "at least two"),
        (lambda: Choice((1, 1)), "each once"),
    ],
)
def test_a_dimension_of_nothing(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


SEARCHED = [name for name in REGISTRY.names("models") if make_model(REGISTRY, PluginRef(name)).search_space()]


@pytest.mark.parametrize("name", SEARCHED)
def test_every_declared_space_is_one_that_its_model_accepts(name: str) -> None:
    ref = PluginRef(name)
    space = space_of(ref, REGISTRY, None)
    check_space(space, name, ref, REGISTRY)
    point = default_point(space, ref, TrainRecipe(), REGISTRY)
    assert point is not None, "the defaults are the first trial, so they have to lie in the space"
    assert point.keys() == space.keys()


def test_healnets_published_space() -> None:
    space = space_of(PluginRef("healnet"), REGISTRY, "healnet-paper")
    assert space["layers"] == Interval(2, 5)
    assert space["train.l1"] == Interval(0.0, 5e-4)
    assert default_point(space, PluginRef("healnet"), TrainRecipe(), REGISTRY) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing to search"),
        ("[modell]\nlayers = [1, 2]", "did you mean 'model'"),
        ("model = 3", "write the tables"),
        ("[model]\nlayers = 3", "model.layers: write { low = 1"),
        ("[model]\nlayers = { low = 3 }", "model.layers: write { low = 1"),
        ("[model]\nlayers = { low = 3, high = 3 }", "model.layers: low (3) must be below"),
        ("[model]\nlayers = [2]", "model.layers: give at least two values"),
        ("[model]\nlayerz = [1, 2]", "did you mean 'layers'"),
        ("[model]\nlayers = { low = 0, high = 2 }", "layers = 0 is refused"),
        ("[model]\nattention_dropout = { low = 0.0, high = 1.5 }", "attention_dropout = 1.5 is refused"),
        ("[train]\nlrr = [1e-3, 1e-4]", "did you mean 'lr'"),
        ("[train]\nlr = { low = 0.0, high = 1.0 }", "train.lr = 0.0 is refused"),
        ("[model", "cannot be read"),
    ],
)
def test_a_faulty_space_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(SuiteError) as error:
        space_of(PluginRef("healnet"), REGISTRY, str(path))
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)


def test_a_space_that_is_nowhere_and_a_model_without_one(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="did you mean 'healnet-paper'"):
        read_space("healnet-papr", REGISTRY)
    with pytest.raises(SuiteError, match="declares no search space; give one with --space"):
        space_of(PluginRef("late-fusion"), REGISTRY, None)


@pytest.fixture
def cell() -> Cell:
    return next(c for c in planned(toy=Toy(n=60)).listed if c.row[1:3] == ("uni", "clinical+omic") and c.fold == 0)


CASES = {case.id: case for case in Toy(n=60).cases}


def test_inner_folds_lie_within_the_training_and_validation_cases(cell: Cell) -> None:
    folds = inner_folds(cell, CASES, 3)
    inside = {*cell.split.train, *cell.split.val}
    assert len(folds) == 3
    for fold in folds:
        assert {*fold.train, *fold.val, *fold.test} == inside
    assert sorted(i for fold in folds for i in fold.test) == sorted(inside)


def test_inner_folds_are_the_same_for_every_model_and_others_in_every_fold(cell: Cell) -> None:
    other = replace(cell, model=PluginRef("late"), modalities=("clinical",))
    assert inner_folds(other, CASES, 3) == inner_folds(cell, CASES, 3)
    assert inner_folds(replace(cell, fold=1), CASES, 3) != inner_folds(cell, CASES, 3)


def test_too_many_inner_folds(cell: Cell) -> None:
    with pytest.raises(DataError, match="ask for fewer with --inner-folds"):
        inner_folds(cell, CASES, 40)


def test_a_trials_cell_has_the_point_and_no_test_case(cell: Cell) -> None:
    fold = inner_folds(cell, CASES, 2)[0]
    made = inner_cell(cell, fold, 1, {"depth": 5, "train.lr": 0.01}, MAXIMISE)
    assert made.chosen == PluginRef.of("uni", depth=5)
    assert made.model == cell.model
    assert (made.recipe.lr, made.recipe.epochs) == (0.01, cell.recipe.epochs)
    assert (made.patterns, made.metrics) == (("full",), ("harrell_c_index",))
    assert not {*made.split.train, *made.split.val, *made.split.test} & set(cell.split.test)


def test_an_objective_is_its_score_or_a_reason() -> None:
    def ok(value: float, reason: str = "") -> CellResult:
        score = Score("full", "harrell_c_index", value, reason, 10)
        return CellResult("k", "ok", scores=(score,), record={"fit": {"validation_loss": None}})

    assert MAXIMISE.value(ok(0.7)) == 0.7
    assert MAXIMISE.value(ok(math.nan, "no pair")) == "harrell_c_index is undefined: no pair"
    assert MAXIMISE.value(CellResult("k", "failed", "ValueError: no", record={})) == "ValueError: no"
    assert "no validation loss" in str(Objective.named("nll", REGISTRY).value(ok(0.7)))
    assert not Objective.named("ibs", REGISTRY).higher_is_better
    for name, said in (("d_calibration", "has no direction"), ("harrell", "did you mean 'harrell_c_index'")):
        with pytest.raises(SuiteError, match=said):
            Objective.named(name, REGISTRY)


def search(tmp_path: Path, name: str = "a", objective: Objective = MAXIMISE, space: Any = LINE) -> Search:
    return Search(tmp_path / "journal.log", name, space, objective, seed=3)


def by_x(point: Point, step: int) -> float | str:
    return float(point["x"])


def run(searched: Search, trials: int, folds: int, default: Point | None, score: Scorer = by_x) -> None:
    """As the harness does, one after the other."""
    asked = searched.run(trials, folds, default)
    with suppress(StopIteration):
        point, step = next(asked)
        while True:
            point, step = asked.send(score(point, step))


def test_a_search_finds_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = search(tmp_path)
    run(first, 4, 2, {"x": 0.5})
    assert first.done == 4
    assert first.result({"x": 0.5}).default == 0.5
    again = search(tmp_path)
    assert again.done == 4
    run(again, 20, 2, {"x": 0.5})
    found = again.result({"x": 0.5})
    assert found.value == found.point["x"] > 0.8
    assert found.complete + found.pruned == 20
    assert search(tmp_path, "b").done == 0, "another name is another search"


def test_a_search_does_the_same_again(tmp_path: Path) -> None:
    points: list[list[float]] = [[], []]
    for i, folder in enumerate(("one", "two")):
        (tmp_path / folder).mkdir()

        def score(point: Point, step: int, at: int = i) -> float | str:
            points[at].append(float(point["x"]))
            return by_x(point, step)

        run(search(tmp_path / folder), 8, 1, None, score)
    assert points[0] == points[1]
    assert len(set(points[0])) == 8


def test_what_is_hopeless_on_the_first_inner_fold_is_not_tried_on_the_others(tmp_path: Path) -> None:
    seen: list[int] = []

    def score(point: Point, step: int) -> float | str:
        seen.append(step)
        return by_x(point, step)

    searched = search(tmp_path)
    run(searched, 30, 3, None, score)
    found = searched.result(None)
    assert found.pruned > 3
    assert seen.count(0) == 30
    assert seen.count(1) < 30
    assert seen.count(2) == found.complete


def test_failed_trials_keep_their_reason_and_all_failed_is_an_error(tmp_path: Path) -> None:
    def half(point: Point, step: int) -> float | str:
        return "ValueError: too wide" if point["x"] > 0.5 else float(point["x"])

    searched = search(tmp_path)
    run(searched, 20, 2, None, half)
    found = searched.result(None)
    assert found.failed > 0
    assert found.failure == "ValueError: too wide"
    assert found.value <= 0.5
    none = search(tmp_path, "none")
    run(none, 2, 2, None, lambda point, step: "ValueError: never")
    with pytest.raises(FusionBenchError, match="no trial of none was completed: ValueError: never"):
        none.result(None)


def searched_in(folder: Path) -> tuple[Point, float, int, int, int]:
    """Twelve trials on two inner folds, or what is left of them; which point is best, and how all ended."""
    repair(folder)
    one = search(folder)
    run(one, 12, 2, {"x": 0.5}, lambda point, step: "ValueError: too wide" if point["x"] > 0.9 else point["x"] - step)
    found = one.result({"x": 0.5})
    return found.point, found.value, found.complete, found.pruned, found.failed


def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """Each process goes on where the one before was killed, and runs the trial again that had begun."""
    for folder in ("calm", "killed"):
        (tmp_path / folder).mkdir()
    began = time.monotonic()
    calm = searched_in(tmp_path / "calm")
    takes, moments = time.monotonic() - began, np.random.default_rng(0)
    for _ in range(20):
        process = os.fork()
        if process == 0:
            searched_in(tmp_path / "killed")
            os._exit(0)
        time.sleep(takes * moments.random() / 10)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    assert searched_in(tmp_path / "killed") == calm


@pytest.mark.parametrize("half", [b'{"op_code": 6, "wor', b"\0\0\0\0", b'{"op_code": 6, "wor\n'])
def test_a_journal_that_ends_in_half_a_line_is_gone_on_with(tmp_path: Path, half: bytes) -> None:
    """As a full disk and a power cut leave it."""
    run(search(tmp_path), 3, 1, None)
    journal = tmp_path / JOURNAL
    before = journal.read_bytes()
    journal.write_bytes(before + half)
    (tmp_path / f"{JOURNAL}.lock").symlink_to(journal)  # and Optuna's lock, as a kill leaves it
    assert (
        repair(tmp_path)
        == f"{journal} ended in half a line, which was cut off; the search goes on from the line before"
    )
    assert journal.read_bytes() == before
    assert repair(tmp_path) == ""
    began = time.monotonic()
    run(search(tmp_path), 4, 1, None)
    assert time.monotonic() - began < 10, "Optuna waits half a minute for a lock"
    journal.write_bytes(before.replace(b"{", b"", 1))
    with pytest.raises(SuiteError, match=r"journal.log: line 1 of .* cannot be read"):
        repair(tmp_path)


def test_an_interrupted_first_trial_is_the_suites_own_options_again(tmp_path: Path) -> None:
    killed = search(tmp_path)
    next(killed.run(2, 1, {"x": 0.5}))  # as a process leaves it that dies now
    again = search(tmp_path)
    assert again.done == 0
    run(again, 2, 1, {"x": 0.5})
    found = again.result({"x": 0.5})
    assert (found.default, found.complete, found.failed) == (0.5, 2, 0)


def test_lower_is_better_where_the_objective_says_so_and_choices_keep_their_type(tmp_path: Path) -> None:
    space = {"widths": Choice(((8,), (16, 16), (32,)))}
    searched = search(tmp_path, "c", Objective("ibs", higher_is_better=False), space)
    run(searched, 12, 1, {"widths": (8,)}, lambda point, step: float(sum(point["widths"])))
    assert searched.result({"widths": (8,)}).point == {"widths": (8,)}
    assert searched.result({"widths": (8,)}).default == 8.0


STUDY = {
    "dataset": "toy",
    "model": "uni",
    "modalities": "clinical+omic",
    "variant": "base",
    "repeat": 0,
    "fold": 0,
    "split": "s",
    "value": 0.7,
    "complete": 3,
    "pruned": 0,
    "failed": 0,
    "options": {"widths": [4, 4]},
    "train": {"lr": 0.01},
}
RECORD = {"suite": "s", "command": "c", "objective": "nll", "trials": 3, "inner_folds": 2, "seed": 0}


def tuned(**changes: Any) -> TunedOptions:
    study = Study.model_validate({**STUDY, **changes})
    return TunedOptions("mine-tuned.search.toml", {study.position: study})


def test_a_study_is_of_one_place_and_one_fold() -> None:
    place = ("toy", "uni", "clinical+omic", "base", 0, 0)
    study = tuned().of(place, "s")
    assert study is not None
    assert study.chosen == (("train.lr", 0.01), ("widths", (4, 4)))
    assert tuned().of(("toy", "late", "clinical+omic", "base", 0, 0), "s") is None
    with pytest.raises(SuiteError, match=r"search\.toml: toy · uni .* was tuned on another fold"):
        tuned().of(place, "other")
    with pytest.raises(SuiteError, match=r"search\.toml: no study of toy · uni .* fold 1; tune this model anew"):
        tuned().of((*place[:5], 1), "s")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "not valid TOML"),
        ("suite = 's'", "command: Field required"),
        (tomli_w.dumps(RECORD), "study: Field required"),
        (tomli_w.dumps({**RECORD, "study": [{**STUDY, "value": math.nan}]}), "study.0.value"),
    ],
)
def test_a_damaged_record(text: str, said: str) -> None:
    with pytest.raises(SuiteError) as error:
        parse_record(text, "a.toml")
    assert str(error.value).startswith("a.toml: ")
    assert said in str(error.value)


@pytest.mark.parametrize("name", REGISTRY.names("suites"))
def test_a_written_suite_is_the_one_that_was_searched(tmp_path: Path, name: str) -> None:
    suite = load_suite(REGISTRY, name)
    record = TuningRecord.model_validate({**RECORD, "suite": name, "study": [STUDY]})
    path = writing.write(tmp_path, suite, record, REGISTRY)
    read = parse_suite(path.stem, path.read_text(), str(path))
    assert read.tuned == f"{name}-tuned.search.toml"
    assert read.title == f"{suite.title}, tuned"
    published = {key: getattr(suite, key) for key in ("reference", "claims", "counts")}
    left = {"name": name, "title": suite.title, "tuned": None, **published}
    assert read.model_copy(update=left).model_dump() == suite.model_dump()
    assert parse_record((tmp_path / read.tuned).read_text(), "r").study == record.study


def test_searches_of_another_kind_do_not_share_a_file(tmp_path: Path) -> None:
    record = TuningRecord.model_validate({**RECORD, "study": [STUDY]})
    position = record.study[0].position
    path = writing.paths(tmp_path, "quickstart")[1]
    suite = load_suite(REGISTRY, "quickstart")
    writing.write(tmp_path, suite, record, REGISTRY)

    def earlier(searched: set[Any], **changes: Any) -> object:
        return writing.earlier(path, record.model_copy(update=changes), suite, searched, REGISTRY)

    assert earlier(set()) == record.study
    assert earlier({position}, trials=4) == record.study, "trials are added to those of the same fold"
    with pytest.raises(
        SuiteError, match=r"trials = 3, and this asks for 4; ask for the same, name .* as well, or write"
    ):
        earlier(set(), trials=4)
    with pytest.raises(SuiteError, match=r"trials = 3, and this asks for 2; ask for the same, or write elsewhere"):
        earlier({position}, trials=2)
    with pytest.raises(SuiteError, match=r"inner_folds = .*, and this asks for 9; ask for the same"):
        earlier({position}, inner_folds=9)
