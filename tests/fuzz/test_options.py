"""Any flag of `run`: a usage error, one clear line, or a plan; by the command line itself, as a dry run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from typer.main import get_command

from fusionbench import cli
from fusionbench.core import registry
from fusionbench.core.errors import SuiteError
from fusionbench.core.plugin_ref import PluginRef
from fusionbench.session import Session
from tests.conftest import EXAMPLE
from tests.fuzz.examples import FUZZ, NASTY, NUMBERS, TEXTS, clear

pytestmark = pytest.mark.slow
KEYS = st.one_of(st.sampled_from(["fusion", "layers", "ridge", "fault", "cases", "member", "file"]), TEXTS)
WORDS = st.one_of(st.sampled_from(["bilinear", "[1,2]", '"a,b"', "{a=1}", "true", "2020-01-01", "none"]), TEXTS)
NAMES = st.one_of(
    st.sampled_from(["example-least-squares", "example-faulty", "mcat", "healnet", "late-fusion", "table"]),
    TEXTS,
)


@st.composite
def references(draw: st.DrawFn) -> str:
    """`name[key=value,...]`, at times with a piece missing, doubled or in the wrong place."""
    pairs = draw(st.lists(st.tuples(KEYS, st.one_of(WORDS, NUMBERS.map(str))), max_size=3))
    text = draw(NAMES)
    if pairs or draw(st.booleans()):
        text += "[" + ",".join(f"{k}={v}" for k, v in pairs) + "]"
    if draw(st.integers(0, 4)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.one_of(NASTY, st.sampled_from("[]=,\"'"))) + text[at + draw(st.integers(0, 2)) :]
    return text


FOLDS = st.one_of(st.from_regex(r"\A[0-9]{1,2}([,-][0-9]{1,2}){0,3}\Z"), TEXTS, st.just("0-999999999999"))
SMALL = st.one_of(st.integers(-2, 6).map(str), TEXTS)
"""Repeats are work of their own accord; a million of them is no mistake that can be seen."""
FLAGS = st.one_of(
    st.tuples(st.sampled_from(["-m", "--model"]), references()),
    st.tuples(st.sampled_from(["-d", "--dataset"]), references()),
    st.tuples(st.just("--folds"), FOLDS),
    st.tuples(st.sampled_from(["--repeats", "--limit", "--seed", "--threads"]), SMALL),
    st.tuples(st.sampled_from(["--device", "--retry", "--out"]), TEXTS),
    st.tuples(st.sampled_from(["--json", "--rerun", "--no-track", "--deterministic", "--nope"])),
    st.tuples(TEXTS),
)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The third-party package found once, and the command line made once: doing so anew would take all the time."""
    sys.path.insert(0, str(EXAMPLE))
    before, found = os.getcwd(), registry.discover()
    folder = tmp_path_factory.mktemp("fuzz")
    os.chdir(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("fusionbench.cli.run.open_session", partial(open_with, found))
        patched.setattr(cli, "app", get_command(cli.app))
        yield
    os.chdir(before)
    sys.path.remove(str(EXAMPLE))
    assert not list(folder.iterdir()), "a dry run wrote something"


def open_with(found: registry.Registry, out: Path, device: str, **about: Any) -> Session:
    return Session(out=out, device=device, threads=about["threads"], registry=found)


def call(args: list[str]) -> tuple[int, str]:
    """Exit status and standard error of `fusionbench ARGS`."""
    errors = io.StringIO()
    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(io.StringIO()):
        patched.setattr(sys, "argv", ["fusionbench", *args])
        with contextlib.redirect_stderr(errors):
            try:
                cli.main()
                status: object = 0
            except SystemExit as ended:
                status = ended.code
    return int(str(status or 0)), errors.getvalue()


@FUZZ
@given(st.lists(FLAGS, min_size=1, max_size=4), st.sampled_from(["example-faulty", "example-tiny"]))
def test_a_dry_run_ends_with_a_plan_or_an_error(flags: list[tuple[str, ...]], suite: str) -> None:
    status, errors = call(["run", suite, "--dry-run", *(part for flag in flags for part in flag)])
    event(f"exit {status}")
    assert status in (0, 2)
    assert "Traceback" not in errors
    assert bool(errors.strip()) == (status == 2)


@FUZZ
@given(references())
@example("cox[' or 1=1=bilinear,' or 1=1=bilinear]")
def test_a_reference_reads_back_what_it_writes(text: str) -> None:
    try:
        ref = PluginRef.parse(text)
    except SuiteError as error:
        clear(error)
        return
    event("read")
    again = PluginRef.parse(str(ref))
    assert str(again) == str(ref)
    assert repr(again) == repr(ref)  # NaN is not equal to itself


def test_nothing_of_this_is_vacuous(tmp_path: Path) -> None:
    assert call(["run", "example-faulty", "--dry-run", "-m", "example-least-squares[ridge=2]"])[0] == 0
    assert call(["run", "example-faulty", "--dry-run", "-m", "example-least-squares[rigde=2]"])[0] == 2
