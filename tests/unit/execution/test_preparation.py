"""Preparations: from training cases alone, computed once whoever asks, found damaged, and turned into tokens."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fusionbench import CaseSet, FusionBenchError, PluginError, Preparation, PreparationContext, PreparedBag, State
from fusionbench.core.errors import ResultsError
from fusionbench.core.preparation import checked_preparations
from fusionbench.core.protocol import TrainRecipe
from fusionbench.core.registry import discover
from fusionbench.data import feature_cache
from fusionbench.data.bag_parts import drawn, with_neighbours
from fusionbench.data.preparations import FittedPreparation, split_arrays, stored_arrays
from fusionbench.data.preprocessing import Preprocessor, fit_preprocessor
from fusionbench.execution.preparation import (
    Prepared,
    compute,
    of_fitted,
    prepared,
    restored,
    shown_cases,
    state_key,
)
from fusionbench.execution.shared import SharedResources
from fusionbench.testing.toys import toy_cases, toy_modalities, toy_targets
from tests.conformance import broken_preparations

CPU = torch.device("cpu")
CASES = toy_cases(24, missing=0.3)
PREPROCESSOR = fit_preprocessor(toy_modalities(), CASES[:16])
ABOUT = {"dataset": "toy", "modalities": {"omic": {"kind": "vector"}, "image": {"kind": "bag"}}}


def case_set(cases: tuple[Any, ...], hidden: Mapping[str, frozenset[str]] | None = None) -> CaseSet:
    return CaseSet(cases, PREPROCESSOR.specs, None, PREPROCESSOR.prepare, hidden or {})


TRAIN, VAL = case_set(CASES[:16]), case_set(CASES[16:])
IMAGES = [case for case in CASES if "image" in case.refs]


class Mean(Preparation):
    """The mean of the first `first` cases, with a draw from each generator that may be used."""

    name = "mean"
    first: int = 100
    slow: float = 0.0

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        CALLS.append(self.name)
        time.sleep(self.slow)
        rows = [train[i].bags["image"].values.mean(dim=0) for i in range(min(self.first, len(train)))]
        drawn = np.array([np.random.random(), torch.rand(1).item(), np.random.default_rng(ctx.seed).random()])  # noqa: NPY002
        return {"mean": torch.stack(rows).mean(dim=0).numpy(), "drawn": drawn, "count": np.array(len(rows))}

    def tokens(self, name: str, bag: PreparedBag, state: State) -> Tensor | None:
        CALLS.append(name)
        return torch.cat([bag.values.mean(dim=0) - torch.from_numpy(state["mean"]), torch.ones(1)])[None].repeat(2, 1)


CALLS: list[str] = []
OF_IMAGES = Mean(reads=("image",))


def computed(preparation: Preparation, train: CaseSet = TRAIN) -> FittedPreparation:
    stored = compute(preparation, shown_cases(train, PREPROCESSOR, preparation.reads), 3, CPU)
    return FittedPreparation(preparation, stored.state, stored.ledger)


def run(resources: SharedResources, preparation: Preparation = OF_IMAGES, train: CaseSet = TRAIN) -> Prepared:
    return prepared([preparation], train, PREPROCESSOR, ABOUT, resources)


@pytest.fixture
def resources(tmp_path: Path) -> SharedResources:
    return SharedResources(discover(("models",)), tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache on disk, turned on."""
    monkeypatch.setenv(feature_cache.ENVIRONMENT, str(tmp_path / "cache"))
    return tmp_path / "cache"


@given(st.lists(st.sets(st.sampled_from(["omic", "image"])), min_size=16, max_size=16))
def test_a_preparation_gets_the_training_cases_that_show_what_it_reads(hidden: list[set[str]]) -> None:
    masked = {case.id: frozenset(names) for case, names in zip(TRAIN.cases, hidden, strict=True)}
    train = case_set(TRAIN.cases, {**masked, VAL.ids[0]: frozenset({"omic"})})
    imputing = replace(train, prepare=PREPROCESSOR.imputing().prepare)
    shown = shown_cases(imputing, PREPROCESSOR.imputing(), ("image",))
    assert shown.ids == tuple(case.id for case in train.cases if "image" in train.visible(case))
    assert all(set(case.refs) <= {"image"} for case in shown.cases)
    assert {name for case in shown for name in case.bags} <= {"image"}
    assert VAL.ids[0] not in shown.hidden


def test_a_preparation_is_given_no_outcomes() -> None:
    knowing = replace(TRAIN, targets=toy_targets(TRAIN.cases))
    shown = shown_cases(knowing, PREPROCESSOR, ("image",))
    assert shown.targets is None
    assert all(case.target is None for case in shown.cases)


class Reading(Mean):
    """Reads what `READ` reads, after the training cases."""

    name = "reading"

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> State:
        READ[0](train)
        return super().prepare(train, ctx)


READ: list[Callable[[CaseSet], object]] = [len]
WITH_IMAGE = next(i for i, case in enumerate(VAL.cases) if "image" in case.refs)
FOREIGN = VAL.cases[WITH_IMAGE]


def _caught(train: CaseSet) -> None:
    with suppress(PluginError):  # a plugin that hides the refusal
        _ = VAL[WITH_IMAGE]


def _in_a_thread(train: CaseSet) -> None:
    thread = threading.Thread(target=_caught, args=(train,))
    thread.start()
    thread.join()


WAYS: dict[str, Callable[[CaseSet], object]] = {
    "a case set that was kept": lambda train: VAL[WITH_IMAGE],
    "its cases in the training set": lambda train: list(replace(train, cases=VAL.cases)),
    "under the id of a training case": lambda train: train.prepare(replace(FOREIGN, id=train.ids[0]), ("image",)),
    "the readers themselves": lambda train: PREPROCESSOR.parts["image"].bag(FOREIGN),
    "a refusal that is caught": _caught,
    "a thread of its own": _in_a_thread,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_validation_case_is_refused(way: str) -> None:
    READ[0] = WAYS[way]
    with pytest.raises(PluginError, match=r"^preparation 'reading' read '.*' of case 'toy-.*none of the 13 trai"):
        computed(Reading(reads=("image",)))
    computed(OF_IMAGES)  # and nothing is refused afterwards
    assert VAL[WITH_IMAGE].bags["image"].values.ndim == 2


def test_a_modality_that_the_training_mask_hides_is_refused() -> None:
    hidden = next(case for case in TRAIN.cases if len(case.refs) == 2)
    train = case_set(TRAIN.cases, {hidden.id: frozenset({"image"})})
    READ[0] = lambda shown: list(replace(shown, cases=(hidden,), hidden={}))
    with pytest.raises(PluginError, match=f"case '{hidden.id}'"):
        computed(Reading(reads=("omic", "image")), train)
    READ[0] = lambda shown: list(shown.permuted({"image": {shown.ids[1]: shown.ids[0]}}))
    assert computed(Reading(reads=("image",))).ledger


def test_tokens_of_a_validation_case_that_are_in_memory_are_refused_as_well() -> None:
    made = replace(PREPROCESSOR, preparations=(computed(OF_IMAGES),))
    kept = replace(VAL, specs=made.specs, prepare=made.prepare)
    assert kept[WITH_IMAGE].bags["image"].values.shape == (2, 9)
    READ[0] = lambda train: kept.restrict(["image"])[WITH_IMAGE]
    with pytest.raises(PluginError, match="read 'image'"):
        computed(Reading(reads=("image",)))


def test_the_ledger_has_the_cases_that_were_read() -> None:
    shown = shown_cases(TRAIN, PREPROCESSOR, ("image",)).ids
    assert computed(Mean(reads=("image",), first=3)).ledger == shown[:3]
    assert computed(OF_IMAGES).ledger == shown


def test_random_numbers_follow_from_the_seed_and_leave_no_trace() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = computed(OF_IMAGES).state["drawn"]
    torch.rand(3)
    np.random.random(3)  # noqa: NPY002
    between = torch.get_rng_state()
    assert (computed(OF_IMAGES).state["drawn"] == first).all()
    assert torch.equal(torch.get_rng_state(), between)
    assert not torch.equal(between, before[0])
    other = compute(OF_IMAGES, shown_cases(TRAIN, PREPROCESSOR, ("image",)), 4, CPU).state["drawn"]
    assert (other != first).all()


class Giving(Mean):
    """Gives what `GIVEN` says."""

    name = "giving"

    def prepare(self, train: CaseSet, ctx: PreparationContext) -> Any:
        return GIVEN[0]

    def tokens(self, name: str, bag: PreparedBag, state: State) -> Any:
        return GIVEN[1](bag) if len(GIVEN) > 1 else None


GIVEN: list[Any] = []


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([np.ones(2)], "gave list, expected a mapping"),
        (None, "gave NoneType, expected a mapping"),
        ({"a": torch.ones(2)}, "gave Tensor under 'a', expected a numpy array of numbers"),
        ({"a": np.array(["x"])}, "gave an array of <U1 under 'a'"),
        ({3: np.ones(2)}, "gave an array of float64 under 3"),
        ({"a": np.ones(2, dtype=np.longdouble)}, "gave an array of float128 under 'a'"),
    ],
)
def test_what_is_no_state_is_refused(made: Any, said: str) -> None:
    GIVEN[:] = [made]
    with pytest.raises(PluginError, match=f"^preparation 'giving': prepare.. {said}"):
        computed(Giving(reads=("image",)))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (lambda bag: bag.values[0], r"tokens of 'image' for the training mean have shape \(8,\), expected a tensor"),
        (lambda bag: bag.values[:0], r"the training mean have shape \(0, 8\)"),
        (lambda bag: bag.values.numpy(), "have type ndarray"),
        (lambda bag: bag.values / 0, "the training mean have NaN or inf"),
        (lambda bag: bag.values if len(bag.values) == 1 else bag.values[:, :3], "tokens of 3 features for case 'toy-"),
        (lambda bag: bag.values if len(bag.values) == 1 else None, "no tokens of 'image' for case 'toy-"),
        (lambda bag: bag.values if len(bag.values) == 1 else bag.values * np.inf, "for case 'toy-.*' have NaN or inf"),
    ],
)
def test_what_are_no_tokens_is_refused_with_the_case(tokens: Any, said: str) -> None:
    GIVEN[:] = [{}, tokens]
    made = replace(PREPROCESSOR, preparations=(computed(Giving(reads=("image",))),))
    with pytest.raises(FusionBenchError, match=said):
        replace(VAL, specs=made.specs, prepare=made.prepare)[WITH_IMAGE]


def test_two_preparations_make_no_tokens_of_one_modality() -> None:
    both = tuple(computed(Mean(reads=("image",), first=n)) for n in (2, 3))
    with pytest.raises(PluginError, match="preparations 'mean' and 'mean' both make tokens of modality 'image'"):
        _ = replace(PREPROCESSOR, preparations=both).specs


def test_tokens_stand_in_the_place_of_the_bag_and_are_computed_once() -> None:
    CALLS.clear()
    made = replace(PREPROCESSOR, preparations=(computed(OF_IMAGES),))
    spec = made.specs["image"]
    assert (spec.kind, spec.dim, made.specs["omic"]) == ("bag", 9, PREPROCESSOR.specs["omic"])
    cases = replace(TRAIN, specs=made.specs, prepare=made.prepare)
    made.compute_tokens(cases)
    asked = len(CALLS)
    for plain, of_tokens in zip(TRAIN, cases, strict=True):
        assert plain.bags.keys() == of_tokens.bags.keys()
        if "image" in plain.bags:
            expected = plain.bags["image"].values.mean(dim=0) - torch.from_numpy(made.preparations[0].state["mean"])
            assert torch.equal(of_tokens.bags["image"].values[1, :8], expected)
    assert len(CALLS) == asked
    # Other data under the same id are other tokens.
    one, other = (i for i, case in enumerate(cases.cases[:6]) if "image" in case.refs), IMAGES[-1]
    case = cases.cases[next(one)]
    changed = made.prepare(replace(case, refs={"image": other.refs["image"]}), ("image",))
    assert torch.equal(changed.bags["image"].values, made.prepare(other, ("image",)).bags["image"].values)


def test_what_code_of_a_plugin_writes_into_a_state_reaches_no_other_cell() -> None:
    """Weights that begin as an array share its memory, and training would change it; so would a running sum."""

    class Writing(Mean):
        def tokens(self, name: str, bag: PreparedBag, state: State) -> Tensor:
            state["mean"][:] = 7
            return bag.values

    made = computed(Writing(reads=("image",)))
    before = made.state["mean"].copy()
    made.tokens("image", next(case.bags["image"] for case in TRAIN if "image" in case.bags), "a case")
    torch.from_numpy(of_fitted([made], made.preparation)["mean"]).fill_(7)
    np.testing.assert_array_equal(made.state["mean"], before)


def test_the_seed_does_not_follow_from_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edited comment asks for a computation, and not for other random numbers."""
    cases = shown_cases(TRAIN, PREPROCESSOR, ("image",))
    before = state_key(OF_IMAGES, cases, ABOUT, "cpu")
    monkeypatch.setattr("fusionbench.execution.preparation.package_hash", lambda name: "edited")
    after = state_key(OF_IMAGES, cases, ABOUT, "cpu")
    assert (before.text != after.text, before.seed) == (True, after.seed)
    assert state_key(OF_IMAGES, cases.take(range(3)), ABOUT, "cpu").seed != before.seed


def test_tokens_are_no_instances_that_training_draws() -> None:
    made = replace(PREPROCESSOR, preparations=(computed(OF_IMAGES),))
    case = made.prepare(IMAGES[0], ("image",))
    for recipe in (TrainRecipe(max_instances=1), TrainRecipe(instance_order="shuffled")):
        kept = with_neighbours(drawn(case, recipe, 0, 1), 2, made.specs)
        assert kept.bags["image"] is case.bags["image"]


def test_where_the_harness_imputes_the_tokens_of_the_training_mean_stand() -> None:
    made = replace(PREPROCESSOR, preparations=(computed(OF_IMAGES),))
    lacking = next(case for case in CASES if "image" not in case.refs)
    assert "image" not in made.prepare(lacking, ("omic",)).bags
    filled = made.imputing().prepare(lacking, ("omic",)).bags["image"].values
    mean = PREPROCESSOR.parts["image"].mean.values[0] - torch.from_numpy(made.preparations[0].state["mean"])
    assert torch.equal(filled[0, :8], mean)


def test_cells_of_a_process_share_what_is_the_same(resources: SharedResources) -> None:
    CALLS.clear()
    (first,), (again,) = run(resources).records, run(resources).records
    assert (first["computed"], again["computed"], CALLS.count("mean")) == (True, False, 1)
    assert {**again, "computed": True} == first
    assert run(resources).preparations[0] is run(resources).preparations[0]
    fewer = run(resources, train=TRAIN.take(range(15))).records[0]
    assert fewer["computed"] == (fewer["key"] != first["key"])


def test_the_key_is_of_the_cases_the_settings_and_the_code() -> None:
    cases = shown_cases(TRAIN, PREPROCESSOR, ("image",))

    class Later(Mean):
        version = "2"

    versions = Mean.__subclasses__()[-1](reads=("image",))
    of = [
        state_key(OF_IMAGES, cases, ABOUT, "cpu"),
        state_key(Mean(reads=("image",), first=2), cases, ABOUT, "cpu"),
        state_key(versions, cases, ABOUT, "cpu"),
        state_key(OF_IMAGES, cases.take(range(3)), ABOUT, "cpu"),
        state_key(OF_IMAGES, replace(cases, hidden={cases.ids[0]: frozenset({"image"})}), ABOUT, "cpu"),
        state_key(OF_IMAGES, cases, {**ABOUT, "dataset": "other"}, "cpu"),
        state_key(OF_IMAGES, cases, ABOUT, "cuda"),
    ]
    assert len({key.text for key in of}) == len(of)
    assert state_key(Mean(reads=("image",)), cases, dict(ABOUT), "cpu") == of[0]


def test_code_that_is_in_no_file_is_not_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = shown_cases(TRAIN, PREPROCESSOR, ("image",))
    one, other = (type("Mine", (Mean,), {"__module__": "in_no_file"})(reads=("image",)) for _ in range(2))
    keys = [state_key(made, cases, ABOUT, "cpu") for made in (one, other)]
    assert not keys[0].on_disk
    assert keys[0].text != keys[1].text


def test_another_process_finds_it_on_disk_to_the_last_bit(folder: Path, resources: SharedResources) -> None:
    first = run(resources)
    other = SharedResources(resources.registry, resources.home)
    CALLS.clear()
    found = run(other)
    assert "mean" not in CALLS
    assert not found.records[0]["computed"]
    for name, array in first.preparations[0].state.items():
        stored = found.preparations[0].state[name]
        assert (stored.dtype, stored.shape, stored.tobytes()) == (array.dtype, array.shape, array.tobytes())
    current = feature_cache.current_cache()
    assert current is not None
    assert [entry.name for entry in current.entries()] == [f"{first.records[0]['key']}.prepared"]
    assert current.stale() == []
    assert current.remove([*current.entries(), *current.unfinished()])[0] == 2  # with the file of the lock
    assert run(SharedResources(resources.registry, resources.home)).records[0]["computed"]


def test_an_audit_that_trains_again_takes_nothing_from_disk(folder: Path, resources: SharedResources) -> None:
    first = run(resources).records[0]
    again = run(SharedResources(resources.registry, resources.home, stored_states=False)).records[0]
    assert (again["key"], again["computed"]) == (first["key"], True)
    assert not run(SharedResources(resources.registry, resources.home)).records[0]["computed"]


def _flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


@pytest.mark.parametrize(
    "damage",
    [
        _flipped,
        lambda content: content[:-8],
        lambda content: b"",
        lambda content: b"no entry",
        lambda content: content.replace(b"toy-000", b"toy-020"),
    ],
    ids=["a bit", "cut", "empty", "another file", "the ledger"],
)
def test_a_damaged_file_is_computed_again(
    damage: Callable[[bytes], bytes], folder: Path, resources: SharedResources
) -> None:
    whole = run(resources)
    (path,) = folder.glob("*.prepared")
    path.write_bytes(damage(path.read_bytes()))
    again = run(SharedResources(resources.registry, resources.home))
    assert again.records[0]["computed"]
    (note,) = again.notes
    assert note.startswith(f"preparation 'mean': {path} is damaged")
    assert note.endswith("computed again")
    assert again.preparations[0].state["mean"].tobytes() == whole.preparations[0].state["mean"].tobytes()
    assert not run(SharedResources(resources.registry, resources.home)).records[0]["computed"]


def test_of_two_that_ask_at_once_one_computes(folder: Path, resources: SharedResources) -> None:
    CALLS.clear()
    slow, made = Mean(reads=("image",), slow=0.2), list[Prepared]()
    each = [SharedResources(resources.registry, resources.home) for _ in range(2)]
    threads = [threading.Thread(target=lambda of=of: made.append(run(of, slow))) for of in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert CALLS.count("mean") == 1
    assert sorted(one.records[0]["computed"] for one in made) == [False, True]


def test_a_folder_that_cannot_be_written_keeps_nothing_and_says_so(
    folder: Path, resources: SharedResources, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING, "fusionbench"):
        assert run(resources).records[0]["computed"]
    assert "cannot be written" in caplog.text


def test_the_arrays_lie_among_a_cells_weights_and_come_back() -> None:
    both = (computed(OF_IMAGES), computed(Mean(reads=("image",), first=2)))
    weights = {"module.bias": np.ones(2), "prepared": np.zeros(1), **stored_arrays(both)}
    own, states = split_arrays(weights, 2)
    assert list(own) == ["module.bias", "prepared"]
    assert [list(state) for state in states] == [["mean", "drawn", "count"]] * 2
    found = of_fitted(both, Mean(reads=("image",), first=2))
    assert {name: array.tolist() for name, array in found.items()} == {n: a.tolist() for n, a in both[1].state.items()}
    with pytest.raises(PluginError, match=r"ctx.prepared: Mean\(.*\) was not declared by preparations\(\); declared"):
        of_fitted(both, Mean(reads=("image",), first=9))


def test_a_cell_with_other_preparations_is_not_restored() -> None:
    model, task = broken_preparations.Prepared(broken_preparations.Prepared.Options()), None
    wanted = broken_preparations.Centre(reads=("image",))
    record = {**wanted.about, "ledger": ["toy-001"]}
    weights = {"prepared.0.centre": np.zeros(8, np.float32)}
    made, own = restored(model, task, PREPROCESSOR, weights, [record])  # type: ignore[arg-type]
    assert isinstance(made, Preprocessor)
    assert (made.preparations[0].ledger, own) == (("toy-001",), {})
    for other in ([], [{**record, "version": "0"}], [{**record, "settings": {"reads": ["omic"]}}]):
        with pytest.raises(ResultsError, match=r"declares other preparations than the stored cell has .*; fit it"):
            restored(model, task, PREPROCESSOR, weights, other)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (["clusters"], r"preparations\(\) gave str, expected fusionbench.Preparation"),
        ([OF_IMAGES, Mean(reads=("image",))], "preparation 'mean' stands twice"),
        ([Mean(reads=())], "preparation 'mean' reads no modality"),
        ([Mean(reads=("imgae",))], "preparation 'mean' reads unknown modality 'imgae'; did you mean 'image'"),
    ],
)
def test_what_cannot_be_prepared_for_a_row_is_refused(declared: list[Any], said: str) -> None:
    with pytest.raises(PluginError, match=f"^model m: {said}"):
        checked_preparations("model m", declared, PREPROCESSOR.specs)
