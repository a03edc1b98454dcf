"""Signals that end a command: its exit status, further signals meanwhile, and those that are ignored."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest
import typer

from fusionbench.cli.signals import interruptible


def tell(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """A shell's background job ignores Ctrl-C; here nothing is ignored, and all is as before afterwards."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def status_of(command: Callable[[], object]) -> int:
    with pytest.raises(typer.Exit) as ended, interruptible():
        command()
    return ended.value.exit_code


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_each_signal_has_its_status(number: int, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    assert status_of(lambda: tell(number)) == status
    assert capsys.readouterr().err == "interrupted\n"
    assert signal.getsignal(number) is before


def test_a_library_that_raises_an_interrupt_of_its_own_does_not_change_the_status() -> None:
    """As Ray does for any signal that comes while it waits."""

    def wait() -> None:
        try:
            tell(signal.SIGTERM)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None

    assert status_of(wait) == 143


def test_further_signals_do_not_cut_short_what_is_cleaned_up() -> None:
    cleaned = []

    def results() -> Iterator[int]:
        try:
            yield 1
        finally:
            tell(signal.SIGINT)
            cleaned.append("generator")

    def command() -> None:
        with closing(results()) as opened:
            next(opened)
            try:
                tell(signal.SIGTERM)
            finally:
                tell(signal.SIGTERM)
                try:
                    raise OSError("cannot be removed")
                except OSError:
                    tell(signal.SIGHUP)
                cleaned.append("attempts")

    assert status_of(command) == 143
    assert cleaned == ["attempts", "generator"]


def test_after_a_signal_that_a_plugin_has_swallowed_the_next_one_counts() -> None:
    def command() -> None:
        with suppress(KeyboardInterrupt):
            tell(signal.SIGINT)
        tell(signal.SIGHUP)

    assert status_of(command) == 129


def test_what_is_ignored_stays_ignored() -> None:
    """`nohup fusionbench run ...`, and Ctrl-C in a background job of a shell."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interruptible():
        tell(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_terminal_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(typer, "echo", gone)
    assert status_of(lambda: tell(signal.SIGHUP)) == 129


def test_an_interrupt_that_python_cannot_let_through_comes_again() -> None:
    """An exception in a destructor ends there: the command would go on as if nobody had told it to end."""

    class Interrupted:
        def __del__(self) -> None:
            tell(signal.SIGTERM)
            sum(range(10))  # the handler runs here at the latest

    def command() -> None:
        Interrupted()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.01)

    hook = sys.unraisablehook
    assert status_of(command) == 143
    assert sys.unraisablehook is hook
