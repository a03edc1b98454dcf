"""`fusionbench check`, `parametrize` and what the documents say of both."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fusionbench.core.errors import SuiteError
from fusionbench.core.registry import discover
from fusionbench.testing import Failure, Skipped, check_plugin, checks_for, parametrize
from fusionbench.testing.conformance import PROMISES, Promise, Report, run_check
from fusionbench.testing.conformance.check import checks_of, with_expected
from tests.conftest import EXAMPLE, Cli

ROOT = Path(__file__).parents[2]


def test_a_line_a_check_and_a_summary(cli: Cli) -> None:
    result = cli("check", "builtin", "-k", "metric:d_calibration")
    assert result.returncode == 0, result.stderr
    first, *lines, last = result.stdout.splitlines()
    assert first == "metric d_calibration"
    assert "  pass  value-in-range" in lines
    assert "  skip  direction  (its value has no direction: higher_is_better = None)" in lines
    assert len(lines) == len(PROMISES["metric"])
    assert re.fullmatch(r"builtin: \d+ passed, 1 skipped, 0 failed in \d+\.\d s", last)


def test_a_failure_says_what_was_seen_expected_and_usually_causes_it(cli: Cli) -> None:
    result = cli("check", "example", "-k", "suite:example-unknown:names")
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    said = [line.strip().partition(": ")[0] for line in lines if line.startswith(" " * 8)]
    assert said == ["seen", "expected", "usual cause"]
    assert "0 passed, 0 skipped, 1 failed" in lines[-1]


def test_what_is_blocked_by_a_failure_is_no_success(cli: Cli) -> None:
    result = cli("check", "example", "-k", "suite:example-wrong:names")
    assert result.returncode == 1
    assert "  skip  names-resolve  (says nothing where parses fails)" in result.stdout


def test_a_repeated_reason_is_said_once(cli: Cli) -> None:
    result = cli("check", "hancock", env={"FUSIONBENCH_DATA": "nowhere"})
    assert result.returncode == 0
    assert result.stdout.count("run: fusionbench data fetch hancock") == 1
    assert result.stdout.count("(as above)") == 6


def test_json(cli: Cli) -> None:
    result = cli("check", "builtin", "-k", "EXECUTOR:serial", "--json")
    rows = json.loads(result.stdout)
    assert result.returncode == 0
    assert [row["check"] for row in rows] == [promise.name for promise in PROMISES["executor"]]
    assert {row["status"] for row in rows} == {"pass"}
    assert set(rows[0]) == {
        *("kind", "subject", "check", "promise", "status", "reason", "blocked", "excused"),
        *("seen", "expected", "cause", "seconds"),
    }


METRIC = """\
from fusionbench.builtin.metrics import HarrellC


class Odd(HarrellC):
    '''A metric out of its range.'''

    name = "odd"
    expected_failures = {failures}

    def __call__(self, *args):
        return 7 * super().__call__(*args)
"""


@pytest.mark.parametrize(
    ("failures", "status", "expected"),
    [
        ('{"value-in-range": "It is a ratio."}', 0, "  expected  value-in-range  (It is a ratio.)\n        seen: "),
        (
            '{"value-in-range": "A ratio.", "documented": "None."}',
            0,
            "documented  (expected to fail (None.), and passes",
        ),
        ('{"value-in-rang": "It is a ratio."}', 2, "unknown check 'value-in-rang'; did you mean 'value-in-range'"),
        ('{"value-in-range": ""}', 2, "write the reason"),
        ("{}", 1, "  FAIL  value-in-range"),
    ],
)
def test_an_expected_failure_has_a_reason_and_is_no_success(
    cli: Cli, tmp_path: Path, failures: str, status: int, expected: str
) -> None:
    name = f"odd_metric_{abs(hash(failures))}.py"
    (tmp_path / name).write_text(METRIC.format(failures=failures))
    result = cli("check", f"./{name}")
    assert result.returncode == status, result.stdout
    assert expected in (result.stdout if status < 2 else result.stderr)
    if status == 0:
        assert re.search(r" 0 failed, 1 failed as expected in ", result.stdout)


def test_what_an_expected_failure_blocks_is_excused() -> None:
    ran: list[str] = []

    def fail(subject: object) -> None:
        raise Failure("seen")

    promises = [
        Promise("first", "It is.", "None.", fail, ()),
        Promise("second", "It is.", "None.", lambda subject: ran.append("second"), ("first",)),
        Promise("third", "It is.", "None.", lambda subject: ran.append("third"), ("second",)),
    ]

    class Odd:
        expected_failures: Mapping[str, str] = {"first": "A reason."}

    for thing, ok in ((Odd(), True), (object(), False)):
        checks = with_expected(checks_of("metric", "odd", lambda: None, promises), thing)
        assert Report("odd", tuple(map(run_check, checks))).ok is ok
    assert not ran
    with pytest.raises(Skipped, match="A reason"):
        with_expected(checks_of("metric", "odd", lambda: None, promises), Odd())[0]()


def test_one_model_is_checked_with_its_options(cli: Cli, tmp_path: Path) -> None:
    result = cli("check", "cox[]", "-k", "documented")
    assert result.stdout.splitlines()[:2] == ["model cox", "  pass  documented"]
    chosen = checks_for("deepsets[width=8]", discover(), "documented")[0]
    assert chosen.id == "model:deepsets[width=8]:documented"
    assert chosen.checked.subject.fitter.registry.model("deepsets")
    assert str(chosen.checked.subject.ref) == "deepsets[width=8]"
    for asked, why in (("cox[alpah=1]", "unknown option"), ("coxx[]", "unknown model 'coxx'"), ("cox[", "cannot read")):
        wrong = cli("check", asked)
        assert wrong.returncode == 2
        assert why in wrong.stderr
        assert len(wrong.stderr.splitlines()) == 1


def test_an_unknown_plugin_has_neighbours(cli: Cli) -> None:
    result = cli("check", "bulitin")
    assert result.returncode == 2
    assert "unknown plugin 'bulitin'; did you mean 'builtin'" in result.stderr


def test_a_text_that_matches_nothing_is_a_wrong_request(cli: Cli) -> None:
    result = cli("check", "builtin", "-k", "nothing-like-this")
    assert result.returncode == 2
    assert "no check of 'builtin' matches 'nothing-like-this'; the first is called 'dataset:" in result.stderr


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_package", "could not be loaded: ModuleNotFoundError: No module named 'no_such_package'"),
        ("", "provides nothing: none of its hooks returned anything"),
    ],
)
def test_a_plugin_without_anything_to_check(
    cli: Cli, code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    name = f"mine_{len(code)}"
    (tmp_path / "site" / f"{name}.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[fusionbench]\nmine = {name}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    result = cli("check", "mine")
    assert result.returncode == 2
    assert f"plugin 'mine' {reason}" in result.stderr


def test_a_report() -> None:
    with pytest.raises(SuiteError, match="unknown plugin 'nobody'"):
        check_plugin("nobody")


def test_parametrize_in_a_file_of_a_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in the documents, in a session of its own: one passes, one fails with three sentences, one is skipped."""
    (tmp_path / "test_mine.py").write_text(
        "from fusionbench.testing import parametrize\n\n\n"
        '@parametrize("builtin", "d_calibration:d")\ndef test_conforms(check):\n    check()\n\n\n'
        '@parametrize("example", "suite:example-unknown:names")\ndef test_fails(check):\n    check()\n'
    )
    monkeypatch.syspath_prepend(EXAMPLE)
    # In this process, which has loaded torch already; pytest's own capturing would take what this test reads.
    status = pytest.main(["-rs", "-s", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)])
    sys.modules.pop("test_mine", None)
    done = capsys.readouterr().out
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed, 1 skipped" in done, done
    assert "its value has no direction" in done
    assert "test_fails[suite:example-unknown:names-resolve]" in done
    for words in ("seen: SuiteError: ", "expected: Every dataset, model", "usual cause: a renamed plugin"):
        assert words in done


def test_parametrize_names_the_plugin_that_is_not_there() -> None:
    with pytest.raises(SuiteError, match="unknown plugin 'healnte'; did you mean 'healnet'"):
        parametrize("healnte")


def test_a_failure_is_an_assertion_of_three_lines() -> None:
    failure = Failure("this", "that", "such")
    assert isinstance(failure, AssertionError)
    assert str(failure).splitlines() == ["seen: this", "expected: that", "usual cause: such"]


def test_checks_run_without_pytest() -> None:
    code = (
        "import sys\nsys.modules['pytest'] = None\n"
        "from fusionbench.testing import check_plugin, checks_for\n"
        "from fusionbench.core.registry import discover\n"
        "for check in checks_for('builtin', discover(), 'suite:quickstart'):\n    check()\n"
    )
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_the_documents_list_the_checks_and_what_they_promise() -> None:
    section = (ROOT / "docs" / "plugins.md").read_text().partition("## Check it")[2].partition("\n## ")[0]
    listed = {}
    for part in section.split("\n### ")[1:]:
        kind, _, body = part.partition("\n")
        items = re.split(r"^- ", body, flags=re.MULTILINE)[1:]
        listed[kind.strip()] = [" ".join(item.partition("\n\n")[0].split()) for item in items]
    assert listed == {
        f"A {kind}" if kind[0] not in "e" else f"An {kind}": [f"`{p.name}`: {p.promise}" for p in promises]
        for kind, promises in PROMISES.items()
    }
