"""A plugin whose models fail on purpose, in every way a process can, and executors that a third party might write."""

from importlib.resources import files

from fusionbench import hookimpl


@hookimpl
def fusionbench_models():
    from fusionbench_faults.models import Faulty

    return [Faulty]


@hookimpl
def fusionbench_datasets():
    from fusionbench_faults.cohort import Trivial

    return [Trivial]


@hookimpl
def fusionbench_executors():
    from fusionbench_faults.executors import Forgetful, Raising, Threads

    return [Threads, Raising, Forgetful]


@hookimpl
def fusionbench_suites():
    return [f for f in (files("fusionbench_faults") / "suites").iterdir() if f.name.endswith(".toml")]
