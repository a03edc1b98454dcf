"""References to plugins as text, and the small behaviour of the words."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest

from fusionbench import Case, CaseSet, ModalitySpec, PluginRef, PreparedCase, SuiteError, SurvivalTargets


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("mcat", {}),
        (" mcat[] ", {}),
        ("mcat[fusion=bilinear]", {"fusion": "bilinear"}),
        ("mcat[ fusion = bilinear , groups = 6 ]", {"fusion": "bilinear", "groups": 6}),
        ("snn[dropout=0.25,l1=1e-5,wide=true]", {"dropout": 0.25, "l1": 1e-5, "wide": True}),
        ('snn[name="true",count="6"]', {"name": "true", "count": "6"}),
        ("snn[hidden=[256,128]]", {"hidden": (256, 128)}),
        ("table[path=/data/my cohort.csv]", {"path": "/data/my cohort.csv"}),
        ('table[path="/data/a,b[1].csv"]', {"path": "/data/a,b[1].csv"}),
        (r'table[path="say \"hi\""]', {"path": 'say "hi"'}),
        ("late-fusion[member=mcat[fusion=bilinear,groups=1]]", {"member": "mcat[fusion=bilinear,groups=1]"}),
        ("a.b_c-1[x=a=b]", {"x": "a=b"}),
        ("mcat[fusion=bilinear,\n groups=6]", {"fusion": "bilinear", "groups": 6}),
    ],
)
def test_parse(text: str, options: dict[str, Any]) -> None:
    ref = PluginRef.parse(text)
    assert ref.name == text.strip().partition("[")[0]
    assert dict(ref.options) == options
    assert [type(v) for _, v in ref.options] == [type(options[k]) for k, _ in ref.options]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write name or name"),
        ("[x=1]", "write name or name"),
        ("mcat[x=1", "write name or name"),
        ("mcat x", "write name or name"),
        ("mcat[x]", "'x'"),
        ("mcat[=1]", "'=1'"),
        ("mcat[x=]", "'x='"),
        ("mcat[x=1,x=2]", "'x' is given twice"),
        ('mcat[x="abc]', "do not match"),
        ("mcat[x=[1,2]", "do not match"),
        ("mcat[x=1]]", "do not match"),
        ("mcat[x=o'brien]", "do not match"),
        ("mcat[x=[a,b]]", "neither TOML nor a plain text"),
        ('mcat[x="a" b]', "neither TOML nor a plain text"),
        ("mcat[x=1\ny=2]", "by commas"),
        ("mcat[x={a=1}]", "cannot be a table"),
    ],
)
def test_parse_refuses_in_one_line(text: str, said: str) -> None:
    with pytest.raises(SuiteError) as caught:
        PluginRef.parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_is_short_where_it_can_be() -> None:
    ref = PluginRef.parse('x[b="bilinear",a=1,c="1",d="p,q",e=["u",2],f=false]')
    assert str(ref) == 'x[a=1,b=bilinear,c="1",d="p,q",e=["u",2],f=false]'
    assert str(PluginRef("x")) == "x"
    assert str(PluginRef.of("x", a="two\nlines")) == r'x[a="two\nlines"]'


def test_the_order_of_options_does_not_matter() -> None:
    assert PluginRef.parse("m[a=1,b=2]") == PluginRef.parse("m[b=2,a=1]") == PluginRef.of("m", b=2, a=1)


def test_options_are_laid_over_and_stay_hashable() -> None:
    ref = PluginRef.parse("m[a=1,b=2]").with_options({"b": [3, [4]], "c": "x"})
    assert str(ref) == "m[a=1,b=[3,[4]],c=x]"
    assert ref in {PluginRef.of("m", a=1, b=(3, (4,)), c="x")}
    with pytest.raises(SuiteError, match="cannot be a table"):
        ref.with_options({"d": {"e": 1}})


def nothing_prepared(case: Case, names: tuple[str, ...]) -> PreparedCase:
    return PreparedCase(case.id, dict.fromkeys(names))  # type: ignore[arg-type]


def some_cases(targets: bool = True) -> CaseSet:
    cases = tuple(Case(f"c{i}", f"g{i}", None, {"omic": i, "other": i} if i else {"image": i}) for i in range(4))
    specs = {name: ModalitySpec(name, "vector", 1) for name in ("image", "omic")}
    arrays = SurvivalTargets(np.arange(4.0), np.array([True, False, True, False]), np.arange(4))
    return CaseSet(cases, specs, arrays if targets else None, nothing_prepared, {"c1": frozenset({"omic"})})


def test_a_case_set_is_a_sequence_of_prepared_cases() -> None:
    cases = some_cases()
    assert [(case.id, *case.bags) for case in cases] == [("c0", "image"), ("c1",), ("c2", "omic"), ("c3", "omic")]
    assert cases[-1].id == "c3"
    assert len(cases) == 4
    with pytest.raises(IndexError):
        cases[4]


def test_a_slice_and_a_choice_keep_targets_in_step() -> None:
    part = some_cases()[1:3]
    assert isinstance(part, CaseSet)
    assert part.ids == ("c1", "c2")
    assert part.targets is not None
    assert part.targets.time.tolist() == [1, 2]
    chosen = some_cases().take([3, 0])
    assert chosen.targets is not None
    assert (chosen.ids, chosen.targets.time_bin.tolist()) == (("c3", "c0"), [3, 0])
    assert chosen.targets.event.tolist() == [False, True]
    assert some_cases(targets=False).take([1]).targets is None


def test_predicting_sees_no_targets_and_fewer_modalities_stay_hidden() -> None:
    assert some_cases().without_targets().targets is None
    one = some_cases().restrict(["omic"])
    assert [one.visible(case) for case in one.cases] == [(), (), ("omic",), ("omic",)]


def test_a_case_set_travels_to_other_processes() -> None:
    there = pickle.loads(pickle.dumps(some_cases()))
    assert (there.ids, there[0].id, there.hidden) == (some_cases().ids, "c0", some_cases().hidden)


def test_nan_is_an_option_value() -> None:
    (value,) = (v for _, v in PluginRef.parse("m[x=nan]").options)
    assert math.isnan(value)
