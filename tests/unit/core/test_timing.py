"""A timer gives each span its own time, and takes nothing where nobody watches."""

import threading
import time

import pytest

from fusionbench.core import timing as watch
from fusionbench.core.timing import PhaseTimer, span

TICK = 0.02


def test_a_span_within_takes_its_own_time_away():
    with PhaseTimer() as timer:
        with span("outer"):
            time.sleep(TICK)
            with span("inner"):
                time.sleep(3 * TICK)
        time.sleep(TICK)
    spent = timer.spent
    assert set(spent) == {"outer", "inner", watch.REST}
    assert TICK <= spent["outer"].seconds < spent["inner"].seconds
    assert spent[watch.REST].seconds >= TICK
    assert timer.seconds == pytest.approx(sum(s.seconds for s in spent.values()))
    assert timer.cpu_seconds < timer.seconds


def test_spans_of_one_name_add_up_and_are_counted():
    with PhaseTimer() as timer:
        for _ in range(3):
            with span("again"):
                time.sleep(TICK)
    assert timer.spent["again"].entered == 3
    assert timer.spent["again"].seconds >= 3 * TICK


def test_an_error_ends_the_span_and_the_clock():
    def fails():
        time.sleep(TICK)
        raise ValueError("no")

    timer = PhaseTimer()
    with pytest.raises(ValueError, match="no"), timer, span("broken"):
        fails()
    assert timer.spent["broken"].seconds >= TICK
    with span("later"):
        pass
    assert "later" not in timer.spent


def test_memory_is_what_was_held_within_the_span():
    with PhaseTimer() as timer:
        with span("small"):
            time.sleep(3 * TICK)
        with span("large"):
            held = bytearray(b"x") * (64 << 20)
            time.sleep(5 * TICK)
    assert timer.spent["large"].peak_mib > timer.spent["small"].peak_mib + 48
    assert len(held) == 64 << 20


def test_another_thread_is_not_watched():
    with PhaseTimer() as timer:
        other = threading.Thread(target=lambda: span("elsewhere").__enter__())
        other.start()
        other.join()
    assert "elsewhere" not in timer.spent


def test_without_a_clock_a_span_does_nothing():
    assert span("a") is span("b")
