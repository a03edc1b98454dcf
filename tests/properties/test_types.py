"""A reference to a plugin says in text what it is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fusionbench import PluginRef

scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,8}", fullmatch=True)


@given(names, st.dictionaries(names, values, max_size=3))
def test_text_and_back(name: str, options: dict[str, Any]) -> None:
    ref = PluginRef.of(name, **{k: v for k, v in options.items() if k not in ("cls", "name")})
    back = PluginRef.parse(str(ref))
    assert back == ref
    assert repr(back) == repr(ref)  # True == 1, but they are not the same option
