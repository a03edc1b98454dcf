"""Fingerprints: rounded numbers are equal where processors differ, and what is not equal has another one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusionbench import Case, DatasetInfo, SurvivalTarget
from fusionbench.builtin.synthetic import Synthetic, SyntheticCohort, SyntheticOptions
from fusionbench.builtin.table.dataset import Table, TableOptions
from fusionbench.core.registry import Registry, discover
from fusionbench.data.cohort import Cohort, load_cohort
from fusionbench.data.fingerprint import DIGITS, digest, rounded
from fusionbench.suites.cell import ORACLE, Plan
from fusionbench.suites.plan import expand
from fusionbench.suites.suite_files import parse_suite

NOISE = 1e-14
"""Relative difference of what two processors compute."""


def same(one: Any, other: Any, digits: int = DIGITS) -> bool:
    return bool(np.array_equal(rounded(one, digits), rounded(other, digits)))


@given(st.decimals(-(10**12), 10**12, allow_nan=False, places=4), st.sampled_from([-1, 1]))
def test_a_written_number_is_at_no_edge(number: Any, sign: int) -> None:
    assert same(float(number), float(number) * (1 + sign * NOISE)) or len(number.normalize().as_tuple().digits) > 12


@given(st.integers(1, 10**DIGITS - 1), st.integers(-200, 200))
def test_numbers_of_eight_digits_are_told_apart(whole: int, power: int) -> None:
    assert not same(float(f"{whole}e{power}"), float(f"{whole + 1}e{power}"))


@pytest.mark.parametrize("value", [1.0, 10.0, 1000.0, 0.1, 1e-5, 9.9999999e7, 1e300, 1e-300, 5e-324, -1.0, 2.0**-1074])
def test_powers_of_ten_and_extremes(value: float) -> None:
    assert same(value, value * (1 - NOISE))
    assert same(value, value * (1 + NOISE))
    assert not same(value, value * 1.001) or value < 1e-320
    assert not same(value, -value)


def test_what_is_no_usual_number() -> None:
    special = [0.0, np.nan, np.inf, -np.inf, 1.0]
    found = [tuple(rounded(value).tolist()) for value in special]
    assert len(set(found)) == len(special)
    assert same(-0.0, 0.0)
    assert same(-np.nan, np.nan)


def test_a_digest_has_the_shape_and_the_order() -> None:
    values = np.arange(6.0)
    assert digest(values) == digest(values * (1 + NOISE))
    assert len({digest(values), digest(values[::-1].copy()), digest(values.reshape(2, 3)), digest("a", values)}) == 4


# The synthetic cohort on another processor


def noisy(value: Any, rng: np.random.Generator) -> Any:
    """Every number with another relative error of at most `NOISE`."""
    return value * (1 + NOISE * rng.uniform(-1, 1, np.shape(value)))


class OtherProcessor(Synthetic):
    """The cohort with every generated value off by 1e-14."""

    @cached_property
    def _drawn(self) -> SyntheticCohort:
        drawn, rng = super()._drawn, np.random.default_rng(1)
        return replace(drawn, cases=tuple(self._off(case, rng) for case in drawn.cases))

    def _off(self, case: Case, rng: np.random.Generator) -> Case:
        assert case.target is not None
        refs = {name: noisy(np.asarray(ref, dtype=np.float64), rng) for name, ref in case.refs.items()}
        return replace(case, target=SurvivalTarget(float(noisy(case.target.time, rng)), case.target.event), refs=refs)


@pytest.fixture(scope="module")
def registry() -> Registry:
    return discover()


SUITE = """
title = "Two processors"
datasets = ["synthetic"]
models = ["snn", "late-fusion"]
modalities = [["vector", "bag"]]
metrics = ["uno_c_index"]
[protocol]
repeats = 2
horizon = 1000.0
test_patterns = ["full", "half"]
"""


def planned(registry: Registry, cohort: Cohort, text: str = SUITE) -> Plan:
    return expand(parse_suite("two", text, "two.toml"), registry, lambda ref, unit: cohort)


def test_another_processor_has_the_same_cohort_keys_and_folds(registry: Registry) -> None:
    kinds: Sequence[Callable[..., Synthetic]] = (Synthetic, OtherProcessor)
    here, there = (load_cohort(kind(SyntheticOptions(), Path("nowhere")), registry.modalities) for kind in kinds)
    assert sum(a.target != b.target for a, b in zip(here.cases, there.cases, strict=True)) > 100, "nothing was changed"
    assert here.fingerprint == there.fingerprint
    one, other = planned(registry, here), planned(registry, there)
    assert [c.split for c in one.cells] == [c.split for c in other.cells]
    assert {c.tau for c in one.cells} != {c.tau for c in other.cells}
    assert [c.key for c in one.cells] == [c.key for c in other.cells]


@pytest.mark.parametrize("changed", [{"cases": 399}, {"seed": 1}, {"noise": 0.4}, {"missing": 0.1}])
def test_other_options_are_another_cohort(registry: Registry, changed: dict[str, Any]) -> None:
    usual, other = (
        load_cohort(Synthetic(SyntheticOptions(**options), Path("nowhere")), registry.modalities)
        for options in ({}, changed)
    )
    assert usual.fingerprint != other.fingerprint
    assert usual.identity == "synthetic" != other.identity


def test_a_default_that_is_written_out_is_the_same_cohort(registry: Registry) -> None:
    usual, written = (
        load_cohort(Synthetic(SyntheticOptions(**options), Path("nowhere")), registry.modalities)
        for options in ({"noise": 2, "cases": 30}, {"cases": 30, "noise": 2.0, "seed": 0})
    )
    assert (usual.identity, usual.fingerprint) == (written.identity, written.fingerprint)
    assert usual.identity == "synthetic[cases=30,noise=2]"


# A modality that is added


class WithMore(Synthetic):
    """The cohort with its vector under another name, too, as if read from a file of its own."""

    checksum = "0" * 64

    def info(self) -> DatasetInfo:
        info = super().info()
        more = replace(info.modalities["vector"], checksum=self.checksum)
        checksums = {**info.checksums, "more.csv": self.checksum}
        return replace(info, modalities={**info.modalities, "more": more}, checksums=checksums)

    def cases(self, unit: Literal["patient", "slide"] = "patient") -> Sequence[Case]:
        cases = super().cases(unit)
        return [replace(c, refs={**c.refs, "more": c.refs["vector"]}) if "vector" in c.refs else c for c in cases]


class WithOthers(WithMore):
    checksum = "1" * 64


MORE = SUITE.replace('[["vector", "bag"]]', '[["vector", "bag"], ["more"], ["more", "bag"]]')


def test_a_modality_with_a_checksum_of_its_own_changes_no_other_cells_key(registry: Registry) -> None:
    kinds: Sequence[Callable[..., Synthetic]] = (Synthetic, WithMore, WithOthers)
    usual, more, others = (load_cohort(k(SyntheticOptions(), Path("nowhere")), registry.modalities) for k in kinds)
    assert usual.fingerprint == more.fingerprint == others.fingerprint
    plans = (planned(registry, usual), planned(registry, more, MORE), planned(registry, others, MORE))
    # The oracle's row has every modality, and a skipped cell's key is made of names.
    before, keys, changed = (
        {c.key: c.modalities for c in of.cells if c.model.name != ORACLE and not c.skip} for of in plans
    )
    assert before.keys() == {key for key, names in keys.items() if "more" not in names}
    assert before.keys() == keys.keys() & changed.keys()


# A user's table on another processor, with its rows in another order

TOML = """
table = "cohort.csv"
id = "id"
[outcome]
time = "time"
unit = "day"
event = "event"
[modality.table]
columns = ["x", "level"]
"""
OF_TABLE = (
    SUITE.replace('"synthetic"', '"table"').replace('["vector", "bag"]', '["table"]').replace("late-fusion", "cox")
)
written = st.decimals(-10000, 10000, allow_nan=False, places=3).map(float)


def table_cohort(registry: Registry, frame: pd.DataFrame, separator: str = ",") -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        frame.to_csv(Path(folder) / "cohort.csv", index=False, sep=separator, lineterminator="\r\n")
        (Path(folder) / "cohort.toml").write_text(f'separator = "{separator}"\n{TOML}')
        dataset = Table(TableOptions(file=f"{folder}/cohort.toml"), Path("nowhere"))
        return load_cohort(dataset, registry.modalities)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_users_table_off_by_the_last_bits_is_the_same_cohort(registry: Registry, data: st.DataObject) -> None:
    n = data.draw(st.integers(24, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    frame = pd.DataFrame(
        {
            "id": [f"p{i:02d}" for i in range(n)],
            "time": data.draw(st.lists(st.integers(1, 4000).map(float), min_size=n, max_size=n)),
            "event": [int(i % 3 > 0) for i in range(n)],
            "x": data.draw(st.lists(written, min_size=n, max_size=n)),
            "level": data.draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=n, max_size=n)),
        }
    )
    other = frame.assign(time=noisy(frame["time"], rng), x=noisy(frame["x"], rng)).sample(frac=1, random_state=1)
    here, there = table_cohort(registry, frame), table_cohort(registry, other, ";")
    assert here.fingerprint == there.fingerprint
    one, two = planned(registry, here, OF_TABLE), planned(registry, there, OF_TABLE)
    assert [c.split for c in one.cells] == [c.split for c in two.cells]
    assert [c.key for c in one.cells] == [c.key for c in two.cells]

    row = data.draw(st.integers(0, n - 1))
    column = data.draw(st.sampled_from(["time", "x", "level"]))
    changed = frame.copy()
    changed.loc[row, column] = "d" if column == "level" else frame.loc[row, column] + 1
    assert table_cohort(registry, changed).fingerprint != here.fingerprint
