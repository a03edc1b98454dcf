"""Members come before what builds on them, whatever finishes first; what was lost comes last."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fusionbench.execution.ready_queue import Waiting


def cell(key: str, *members: str) -> Any:
    return SimpleNamespace(key=key, members=tuple((None, m) for m in members))


def test_in_order_and_each_once() -> None:
    waiting = Waiting([cell("a"), cell("b"), cell("c")])
    assert [c.key for c in iter(waiting.take, None)] == ["a", "b", "c"]
    assert len(waiting) == 3
    for key in "abc":
        waiting.end(key)
    assert len(waiting) == 0


def test_a_cell_waits_for_all_its_members() -> None:
    waiting = Waiting([cell("a"), cell("b"), cell("late", "a", "b"), cell("c")])
    assert [c.key for c in iter(waiting.take, None)] == ["a", "b", "c"]
    waiting.end("b")
    assert waiting.take() is None
    waiting.end("a")
    taken = waiting.take()
    assert taken is not None
    assert taken.key == "late"


def test_members_that_are_there_already_are_not_waited_for() -> None:
    taken = Waiting([cell("late", "done-before")]).take()
    assert taken is not None
    assert taken.key == "late"


def test_what_was_lost_comes_after_the_others() -> None:
    waiting = Waiting([cell("killer"), cell("a"), cell("b")], {"killer"})
    assert [c.key for c in iter(waiting.take, None)] == ["a", "b", "killer"]
    again = Waiting([cell("a"), cell("b")])
    first = again.take()
    assert first is not None
    again.again(first.key)
    assert [c.key for c in iter(again.take, None)] == ["b", "a"]


@given(st.data())
def test_every_cell_is_given_once_and_after_its_members(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    needs = {i: data.draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(n)}
    cells = [cell(str(i), *map(str, sorted(needs[i]))) for i in range(n)]
    waiting = Waiting(cells, {str(i) for i in data.draw(st.sets(st.integers(0, n - 1)))})
    at_work: list[str] = []
    ended: list[str] = []
    while len(waiting):
        taken = waiting.take()
        if taken is not None:
            assert {m for _, m in taken.members} <= set(ended)
            at_work.append(taken.key)
        if at_work and (taken is None or data.draw(st.booleans())):
            key = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
            if data.draw(st.integers(0, 9)) == 9:
                waiting.again(key)
            else:
                waiting.end(key)
                ended.append(key)
    assert sorted(ended, key=int) == [str(i) for i in range(n)]
