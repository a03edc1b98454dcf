"""With which stored cell a planned one is compared: the most similar one, whatever times a copy gave to its files."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from fusionbench.suites.cell import Cell
from fusionbench.tools.status.status import most_similar
from fusionbench.tools.status.stored import StoredCell


def stored(key: str, **ingredients: Any) -> StoredCell:
    return StoredCell(key, "ok", "", ("d", "m", "a", "base", 0, 0), 0, ingredients, {}, 1.0, "", ())


def test_a_planned_cell_is_compared_with_the_stored_one_that_differs_in_the_fewest_inputs() -> None:
    planned = cast(Cell, SimpleNamespace(ingredients={"recipe": {"epochs": 5, "lr": 0.1}, "tau": 60}))
    far = stored("a", recipe={"epochs": 2, "lr": 0.2}, tau=48)
    near = stored("b", recipe={"epochs": 2, "lr": 0.1}, tau=60)
    unknown = stored("0")
    assert most_similar([far, near, unknown], planned) is near
    assert most_similar([near, unknown, far], planned) is near
    assert most_similar([unknown], planned) is unknown
    assert most_similar([], planned) is None
