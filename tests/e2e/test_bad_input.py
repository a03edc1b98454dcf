"""Bad input gets one clear line, exit status 2 and no compute; nothing finished is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli, Outcome, run_cli

WORDS = {
    "duplicate": ["case-03", "unique"],
    "negative-time": ["case-04", "time is -1"],
    "nan-time": ["case-04", "time is nan"],
    "no-event": ["none of 20 cases has an observed event"],
    "few-events": ["fold", "event"],
    "few-cases": ["3 groups", "4 folds"],
    "empty": ["empty"],
    "infinite": ["case-05", "'c'", "infinite"],
    "empty-bag": ["case-06", "no instance"],
    "nan-bag": ["case-06", "NaN"],
    "wide-bag": ["case-06", "7", "4"],
}


def one_error(result: Outcome, *words: str) -> str:
    """Exit status 2, one line that holds every word, no traceback."""
    stderr = result.stderr
    assert result.returncode == 2, stderr
    assert "Traceback" not in stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, stderr
    for word in words:
        assert word in stderr, f"{word!r} is not in: {stderr}"
    return stderr


@pytest.mark.parametrize("fault", sorted(WORDS))
def test_a_faulty_cohort_is_refused_before_any_compute(cli: Cli, tmp_path: Path, fault: str) -> None:
    result = cli("run", "example-faulty", "-d", f"example-faulty[fault={fault}]", "--no-track")
    one_error(result, "example-faulty", *WORDS[fault])
    assert not list(tmp_path.glob("results/*/cells/*"))


def test_a_column_without_a_value_is_noted_and_does_not_stop_the_run(cli: Cli) -> None:
    result = cli("run", "example-faulty", "-d", "example-faulty[fault=empty-column]", "--no-track", "--limit", "1")
    assert result.returncode == 0, result.stderr
    assert "columns have no value ('b'): ignored" in result.stdout


def test_an_unknown_suite_names_its_neighbours_and_all_choices(cli: Cli) -> None:
    one_error(cli("run", "quikstart"), "unknown suite 'quikstart'", "did you mean 'quickstart'", "hancock")


def test_all_unknown_names_of_a_suite_at_once(cli: Cli) -> None:
    stderr = one_error(cli("run", "example-unknown"), "example-unknown")
    for word in ("'synthetik'", "'synthetic'", "'healnut'", "'healnet'", "'layer'", "'layers'", "'harrel_c_index'"):
        assert word in stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-d", "synthetic[size=3]"), ("option 'size'", "bag_dim")),
        (("-d", "breast-cancer"), ("unknown dataset of this suite", "synthetic")),
        (("-m", "porpoise"), ("unknown model of this suite", "healnet")),
        (("-m", "healnet[layers=none]"), ("option 'layers'", "'none'")),
        (("-m", "healnet[layers=0]"), ("option 'layers'", "greater than or equal to 1")),
        (("-m", "healnet[layers"), ("cannot read", "name[option=value,...]")),
        (("--folds", "0-9"), ("folds 0 to 1",)),
        (("--folds", "x"), ("cannot read 'x'",)),
        (("--device", "tpu"), ("auto, cpu, cuda",)),
        (("--retry", "all"), ("failed",)),
    ],
)
def test_a_wrong_flag(cli: Cli, args: tuple[str, ...], words: tuple[str, ...]) -> None:
    one_error(cli("run", "example-tiny", *args), *words)


def test_an_unknown_modality_name(cli: Cli) -> None:
    one_error(cli("run", "example-misnamed"), "modality", "'vectr'", "'vector'", "Choices: bag, vector")


def test_a_toml_syntax_error_names_file_and_line(cli: Cli) -> None:
    one_error(cli("run", "example-syntax"), "example-syntax.toml", "not valid TOML", "line 1")


def test_several_semantic_errors_at_once(cli: Cli) -> None:
    stderr = one_error(cli("run", "example-wrong"), "example-wrong.toml", "4 problems")
    for word in ("metrics", "protocol.folds", "fold_source", "train.epochs"):
        assert word in stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a place nobody can write to")
def test_an_unwritable_results_folder(cli: Cli) -> None:
    # /proc refuses new folders to everybody, root included
    one_error(cli("run", "example-tiny", "--out", "/proc/results"), "/proc/results", "--out")


def test_a_missing_data_file_says_what_fetches_it(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", "hancock", "--no-track", env={"FUSIONBENCH_DATA": str(tmp_path / "nothing")})
    one_error(result, "hancock", "fusionbench data fetch hancock")


def test_failed_cells_are_counted_and_the_others_stay(cli: Cli) -> None:
    first = cli("run", "example-failing", "--no-track")
    assert first.returncode == 1
    assert "this model fails on purpose" in first.stderr
    assert "training may have diverged" in first.stderr
    again = cli("run", "example-failing", "--no-track")
    assert again.returncode == 1
    assert "nothing to do" in again.stdout
    retried = cli("run", "example-failing", "--no-track", "--retry", "failed")
    assert "4 cells computed, 2 were there already" in retried.stdout
    table = cli("table", "example-failing", "-f", "csv").stdout
    assert "example-failing" in table


def test_ctrl_c_keeps_what_is_finished_and_the_next_run_goes_on(cli: Cli, tmp_path: Path) -> None:
    first = run_cli(("run", "example-interrupted", "--no-track"), tmp_path)
    assert first.returncode == 130, first.stderr
    assert "interrupted" in first.stderr
    second = cli("run", "example-interrupted", "--no-track", env={"EXAMPLE_CALM": "1"})
    assert second.returncode == 0, second.stderr
    assert "3 cells computed, 1 were there already" in second.stdout


def test_a_tracking_server_that_does_not_answer(cli: Cli) -> None:
    args = ("run", "example-faulty", "-d", "example-faulty")
    down = cli(*args, env={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert down.returncode == 0, down.stderr
    assert "not logged to MLflow" in down.stderr
    assert "fusionbench sync" in down.stderr
    later = cli("sync", "example-faulty")
    assert later.returncode == 0, later.stderr
    assert "4 cells are in MLflow" in later.stdout


def test_a_traceback_only_with_debug(tmp_path: Path) -> None:
    assert "Traceback" in run_cli(("--debug", "run", "quikstart"), tmp_path).stderr


def test_a_part_of_a_suite_needs_only_its_own_data(cli: Cli, tmp_path: Path) -> None:
    """The other datasets' files are not here: what was asked for runs, the table is partial and says so."""
    home = {"FUSIONBENCH_DATA": str(tmp_path / "nothing")}
    one_error(cli("run", "example-partly", "--no-track", env=home), "fusionbench data fetch hancock")
    result = cli("run", "example-partly", "-d", "example-faulty", "--no-track", env=home)
    assert result.returncode == 0, result.stderr
    assert "the table is partial, since the rest of the suite cannot be read: " in result.stdout
    assert "fusionbench data fetch hancock" in result.stdout
    assert (tmp_path / "results/example-partly/table.partial.csv").is_file()
