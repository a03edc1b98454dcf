"""Every suite that ships: names, options and published numbers are in order, and documented."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from fusionbench_healnet_paper.claims import CHECKS
from fusionbench_healnet_paper.deviations import of_suite

from fusionbench.core.registry import Registry, discover
from fusionbench.execution.shared import SharedResources
from fusionbench.suites import published_numbers as references
from fusionbench.suites.plan import expand
from fusionbench.suites.suite import Suite
from fusionbench.suites.suite_files import load_suite
from fusionbench.suites.validation import check_names

ROOT = Path(__file__).parents[3]
NAMES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.toml"))
REFERENCES = sorted((ROOT / "benchmarks").glob("*-table[0-9]*.csv"))


@pytest.fixture(scope="module")
def installed() -> Registry:
    return discover()


@pytest.fixture(scope="module", params=NAMES)
def suite(request: pytest.FixtureRequest, installed: Registry) -> Suite:
    return load_suite(installed, request.param)


def test_it_is_in_order(suite: Suite, installed: Registry) -> None:
    check_names(suite, installed)


def test_every_claim_has_a_rule_or_is_left_unchecked(suite: Suite, installed: Registry) -> None:
    found = references.read(suite).get("claims")
    kinds = {row["kind"] for row in found.rows if row["kind"]} if found else set()
    assert kinds <= set(CHECKS)


def test_suites_with_more_than_one_modality_have_controls(suite: Suite) -> None:
    assert {"cox", "logistic"} & {model.name for model in suite.models}


def test_the_lock_gives_protocol_and_recipe_back(suite: Suite) -> None:
    """TOML has no null, so what is None is absent from a lock."""
    dump = suite.model_dump(mode="json")
    plain = {part: {k: v for k, v in dump[part].items() if v is not None} for part in ("protocol", "train")}
    assert of_suite(plain) == (suite.protocol, suite.train)


def test_every_kind_of_claim_has_its_rule() -> None:
    assert set(CHECKS) == set(references.KINDS)


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: path.name)
def test_published_numbers_say_where_they_are_from(path: Path) -> None:
    kind = "counts" if "table4" in path.name else "reference"
    found = references.parse(kind, path.read_text(encoding="utf-8"), str(path))
    assert "Hemker et al. 2024" in found.notes[0]
    assert found.rows


TABLES = [name for name in NAMES if name.startswith("healnet-table")]


@pytest.mark.parametrize("name", TABLES)
def test_a_suite_of_a_published_table_runs_every_row_of_it(name: str, installed: Registry) -> None:
    suite = load_suite(installed, name)
    datasets, models = ({ref.name for ref in refs} for refs in (suite.datasets, suite.models))
    for row in references.read(suite)["reference"].rows:
        assert row["dataset"] in datasets
        assert row["model"] in models
        assert tuple(row["modalities"].split("+")) in suite.sets_of(row["dataset"])
        assert row["pattern"] in suite.protocol.test_patterns
        assert row["metric"] in suite.metrics


def test_the_omic_suite_is_table_3_without_slides(installed: Registry) -> None:
    """Protocol, recipe and HEALNet's options are those of healnet-table3; every published row of it is run."""
    whole, omic = (load_suite(installed, name) for name in ("healnet-table3", "healnet-table3-omic"))
    assert (omic.protocol, omic.train) == (whole.protocol, whole.train)
    assert [ref.name for ref in omic.datasets] == [ref.name for ref in whole.datasets]
    assert not any(ref.options for ref in omic.datasets)
    for ours, theirs in zip(omic.variant, whole.variant, strict=True):
        assert (ours.name, ours.only, ours.train) == (theirs.name, theirs.only, theirs.train)
        assert ours.model == {"healnet": theirs.model["healnet"]}
    assert len(references.read(omic)["reference"].rows) == 12


@pytest.mark.data
def test_the_omic_suite_needs_no_slides(installed: Registry) -> None:
    """Planned on the real cohorts: every pair of cohort and model, on five folds, and none is skipped."""
    if not os.environ.get("FUSIONBENCH_DATA"):
        pytest.skip("needs the real cohorts: set FUSIONBENCH_DATA to a data home with porpoise/")
    shared = SharedResources(installed, Path(os.environ["FUSIONBENCH_DATA"]))
    plan = expand(load_suite(installed, "healnet-table3-omic"), installed, shared.cohort)
    assert not any(cell.skip for cell in plan.listed)
    rows = Counter((cell.dataset.name, cell.model.name) for cell in plan.listed)
    assert rows == {(str(d), m.name): 5 for d in plan.suite.datasets for m in plan.suite.models}


def test_every_suite_is_documented() -> None:
    text = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")
    documented = re.findall(r"^## `([\w-]+)`", text, re.MULTILINE)
    assert sorted(documented) == NAMES
    assert all(f"| `{name}` |" in text for name in NAMES)
