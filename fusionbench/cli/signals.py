"""Ctrl-C, SIGTERM of a batch system, SIGHUP of a closed terminal: each ends a command in order, with its status."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def interruptible() -> Iterator[None]:
    """Each of the three signals raises KeyboardInterrupt inside; one that is ignored (nohup) stays ignored.

    A further signal while the first one is being obeyed changes nothing: what is cleaned up then is cleaned up wholly.
    A command that has more to say raises KeyboardInterrupt with a text, which says what is kept. Where Python cannot
    let an exception through (the destructor of an object, a callback of the garbage collector or of a fork), the signal
    is sent again a moment later.

    Raises:
        typer.Exit: with 128 and the number of the signal, as a shell has it.
    """
    before = {number: signal.getsignal(number) for number in _ENDING}
    told: list[int] = []  # not the exception's: Ray raises one of its own in place of it

    def end(number: int, frame: object) -> None:
        if not _ending(sys.exception()):
            told.append(number)
            raise KeyboardInterrupt

    def send_again(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt) and told:
            threading.Timer(0.05, os.kill, (os.getpid(), told[-1])).start()
        else:
            hook_before(lost)

    hook_before, sys.unraisablehook = sys.unraisablehook, send_again
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, end)
        yield
    except KeyboardInterrupt as stopped:
        _say(": ".join(("interrupted", *map(str, stopped.args))))
        raise typer.Exit(128 + (told[-1] if told else signal.SIGINT)) from None
    finally:
        sys.unraisablehook = hook_before
        for number, handler in before.items():
            signal.signal(number, handler)


def _ending(error: BaseException | None) -> bool:
    """Whether the exception that is being handled, or one of those that led to it, is an interrupt."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _say(line: str) -> None:
    with suppress(OSError):  # the terminal may be gone, which is what the signal was about then
        typer.echo(line, err=True)
