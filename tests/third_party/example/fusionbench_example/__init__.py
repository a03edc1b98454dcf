"""A third-party plugin: a model, a model that fails, cohorts with every fault, and two small suites."""

from importlib.resources import files

from fusionbench import hookimpl


@hookimpl
def fusionbench_models():
    from fusionbench_example.models import Failing, Flat, Interrupted, LeastSquares

    return [LeastSquares, Failing, Flat, Interrupted]


@hookimpl
def fusionbench_datasets():
    from fusionbench_example.datasets import Faulty

    return [Faulty]


@hookimpl
def fusionbench_suites():
    return [f for f in (files("fusionbench_example") / "suites").iterdir() if f.name.endswith(".toml")]
