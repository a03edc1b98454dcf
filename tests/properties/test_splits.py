"""Whatever the cohort: groups stay whole, each case is tested once, events are dealt out evenly."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fusionbench import Case, DataError, Fold, SurvivalTarget
from fusionbench.core.protocol import Protocol
from fusionbench.data.splits import make_folds


@dataclass(frozen=True)
class Request:
    cases: tuple[Case, ...]
    protocol: Protocol
    seed: int

    def folds(self) -> list[Fold]:
        """The folds, where this cohort can be folded."""
        try:
            return make_folds(self.cases, self.protocol, self.seed, 0)
        except DataError as error:
            assume("observed event" not in str(error))
            raise

    def events(self, ids: tuple[str, ...]) -> int:
        wanted = set(ids)
        return sum(c.id in wanted and c.target is not None and c.target.event for c in self.cases)


@st.composite
def requests(draw: st.DrawFn, largest: int = 1) -> Request:
    """Patients with up to `largest` rows, in any order; every fold can have an event."""
    k = draw(st.integers(2, 5))
    with_event = draw(st.lists(st.integers(1, largest), min_size=3 * k, max_size=30))
    without = draw(st.lists(st.integers(1, largest), max_size=40))
    cases = [
        Case(f"{kind}{i:02d}-{row}", f"{kind}{i:02d}", SurvivalTarget(1.0, kind == "e" and row == 0), {})
        for kind, sizes in (("e", with_event), ("c", without))
        for i, size in enumerate(sizes)
        for row in range(size)
    ]
    validation = draw(st.sampled_from([0.1, 0.15, 0.3]))
    protocol = Protocol(folds=k, validation=validation)
    return Request(tuple(draw(st.permutations(cases))), protocol, draw(st.integers(0, 2**32)))


@given(requests(largest=4))
def test_each_case_is_tested_once_and_no_group_stands_astride(request: Request) -> None:
    folds = request.folds()
    everyone = sorted(c.id for c in request.cases)
    group = {c.id: c.group for c in request.cases}
    assert sorted(i for f in folds for i in f.test) == everyone
    for fold in folds:
        parts = (fold.train, fold.val, fold.test)
        assert sorted(i for part in parts for i in part) == everyone
        groups = [{group[i] for i in part} for part in parts]
        assert sum(map(len, groups)) == len(set.union(*groups))
        assert all(request.events(part) for part in parts)


@given(requests())
def test_folds_of_patients_are_level_in_events_and_in_size(request: Request) -> None:
    folds = request.folds()
    events = [request.events(f.test) for f in folds]
    sizes = [len(f.test) for f in folds]
    assert max(events) - min(events) <= 1
    assert max(sizes) - min(sizes) <= 1


@given(requests(largest=4))
def test_folds_of_rows_are_level_in_events_and_nearly_so_in_size(request: Request) -> None:
    folds = request.folds()
    events = [request.events(f.test) for f in folds]
    assert max(events) - min(events) <= 1  # each group has one event at most
    sizes = [len(f.test) for f in folds]
    assert max(sizes) - min(sizes) <= 2 * 4


@given(requests())
def test_validation_has_its_share_of_either_kind_within_one_case(request: Request) -> None:
    for fold in request.folds():
        rest = (*fold.train, *fold.val)
        for wanted, got in (
            (request.events(rest), request.events(fold.val)),
            (len(rest) - request.events(rest), len(fold.val) - request.events(fold.val)),
        ):
            assert abs(got - request.protocol.validation * wanted) <= 1


@given(requests(largest=3))
def test_the_order_of_cases_does_not_matter(request: Request) -> None:
    folds = request.folds()
    again = sorted(request.cases, key=lambda c: c.id)
    assert make_folds(again, request.protocol, request.seed, 0) == folds


@given(requests())
def test_no_fold_without_an_event_ever_comes_back(request: Request) -> None:
    k = request.protocol.folds
    few = [c for c in request.cases if not (c.target and c.target.event)]
    few += [c for c in request.cases if c.target and c.target.event][: k - 1]
    assume(len(few) >= k)
    with pytest.raises(DataError, match="has an observed event"):
        make_folds(few, request.protocol, request.seed, 0)
