"""Members come before what builds on them, whatever finishes first; what was lost comes last."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fusionbench.execution.ready_queue import ReadyQueue


def cell(key: str, *members: str) -> Any:
    return SimpleNamespace(key=key, members=tuple((None, m) for m in members))


def test_in_order_and_each_once() -> None:
    queue = ReadyQueue([cell("a"), cell("b"), cell("c")])
    assert [c.key for c in iter(queue.pop_next, None)] == ["a", "b", "c"]
    assert len(queue) == 3
    for key in "abc":
        queue.end(key)
    assert len(queue) == 0


def test_a_cell_waits_for_all_its_members() -> None:
    queue = ReadyQueue([cell("a"), cell("b"), cell("late", "a", "b"), cell("c")])
    assert [c.key for c in iter(queue.pop_next, None)] == ["a", "b", "c"]
    queue.end("b")
    assert queue.pop_next() is None
    queue.end("a")
    taken = queue.pop_next()
    assert taken is not None
    assert taken.key == "late"


def test_members_that_are_there_already_are_not_waited_for() -> None:
    taken = ReadyQueue([cell("late", "done-before")]).pop_next()
    assert taken is not None
    assert taken.key == "late"


def test_what_was_lost_comes_after_the_others() -> None:
    queue = ReadyQueue([cell("killer"), cell("a"), cell("b")], {"killer"})
    assert [c.key for c in iter(queue.pop_next, None)] == ["a", "b", "killer"]
    again = ReadyQueue([cell("a"), cell("b")])
    first = again.pop_next()
    assert first is not None
    again.again(first.key)
    assert [c.key for c in iter(again.pop_next, None)] == ["b", "a"]


@given(st.data())
def test_every_cell_is_given_once_and_after_its_members(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    needs = {i: data.draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set() for i in range(n)}
    cells = [cell(str(i), *map(str, sorted(needs[i]))) for i in range(n)]
    queue = ReadyQueue(cells, {str(i) for i in data.draw(st.sets(st.integers(0, n - 1)))})
    at_work: list[str] = []
    ended: list[str] = []
    while len(queue):
        taken = queue.pop_next()
        if taken is not None:
            assert {m for _, m in taken.members} <= set(ended)
            at_work.append(taken.key)
        if at_work and (taken is None or data.draw(st.booleans())):
            key = at_work.pop(data.draw(st.integers(0, len(at_work) - 1)))
            if data.draw(st.integers(0, 9)) == 9:
                queue.again(key)
            else:
                queue.end(key)
                ended.append(key)
    assert sorted(ended, key=int) == [str(i) for i in range(n)]
