"""Which metrics a suite has: those of its datasets' endpoints, of one kind or of several."""

from __future__ import annotations

import pytest

from fusionbench import SuiteError
from fusionbench.core.registry import discover
from fusionbench.suites.suite_files import parse_suite
from fusionbench.suites.validation import metrics_of
from fusionbench.tasks import KINDS

REGISTRY = discover(("metrics",))
SURVIVAL, BINARY, MULTICLASS = (KINDS[name] for name in ("survival", "binary", "multiclass"))


def chosen(metrics: str, **kinds: str) -> tuple[str, ...]:
    """The metrics of a suite with one dataset for each kind of endpoint."""
    text = f'title = "A suite"\ndatasets = ["a"]\nmodels = ["m"]\nmodalities = [["x"]]\n{metrics}\n'
    return metrics_of(
        parse_suite("suite", text, "suite.toml"), REGISTRY, {name: KINDS[kind] for name, kind in kinds.items()}
    )  # type: ignore[index]


def test_a_suite_that_names_none_has_the_primary_metric_of_each_kind() -> None:
    assert chosen("", a="survival") == (SURVIVAL.primary_metric,)
    assert chosen("", a="binary", b="binary") == (BINARY.primary_metric,) == ("auroc",)
    assert chosen("", a="survival", b="multiclass") == (SURVIVAL.primary_metric, MULTICLASS.primary_metric)


def test_a_suite_may_mix_kinds_of_endpoints() -> None:
    metrics = 'metrics = ["harrell_c_index", "auroc", "brier"]'
    assert chosen(metrics, a="survival", b="binary") == ("harrell_c_index", "auroc", "brier")


@pytest.mark.parametrize(
    ("metrics", "kinds", "said"),
    [
        (
            ["auroc", "ibs"],
            {"a": "binary"},
            "metric 'ibs' scores survival endpoints, and no dataset of the suite has one",
        ),
        (["ibs", "auroc"], {"a": "survival"}, "metric 'auroc' scores binary and multiclass endpoints, and no dataset"),
        (
            ["auroc"],
            {"a": "survival", "b": "binary"},
            "no metric of the suite scores the survival endpoint of a: add '",
        ),
        (["ibs"], {"a": "survival", "b": "binary"}, "scores the binary endpoint of b: add 'auroc'"),
    ],
)
def test_a_metric_of_another_kind_of_endpoint(metrics: list[str], kinds: dict[str, str], said: str) -> None:
    with pytest.raises(SuiteError) as error:
        chosen(f"metrics = {metrics!r}", **kinds)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
