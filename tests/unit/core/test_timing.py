"""A clock gives each span its own time, and takes nothing where nobody watches."""

import threading
import time

import pytest

from fusionbench.core import timing as watch
from fusionbench.core.timing import Clock, span

TICK = 0.02


def test_a_span_within_takes_its_own_time_away():
    with Clock() as clock:
        with span("outer"):
            time.sleep(TICK)
            with span("inner"):
                time.sleep(3 * TICK)
        time.sleep(TICK)
    spent = clock.spent
    assert set(spent) == {"outer", "inner", watch.REST}
    assert TICK <= spent["outer"].seconds < spent["inner"].seconds
    assert spent[watch.REST].seconds >= TICK
    assert clock.seconds == pytest.approx(sum(s.seconds for s in spent.values()))
    assert clock.cpu_seconds < clock.seconds


def test_spans_of_one_name_add_up_and_are_counted():
    with Clock() as clock:
        for _ in range(3):
            with span("again"):
                time.sleep(TICK)
    assert clock.spent["again"].entered == 3
    assert clock.spent["again"].seconds >= 3 * TICK


def test_an_error_ends_the_span_and_the_clock():
    def fails():
        time.sleep(TICK)
        raise ValueError("no")

    clock = Clock()
    with pytest.raises(ValueError, match="no"), clock, span("broken"):
        fails()
    assert clock.spent["broken"].seconds >= TICK
    with span("later"):
        pass
    assert "later" not in clock.spent


def test_memory_is_what_was_held_within_the_span():
    with Clock() as clock:
        with span("small"):
            time.sleep(3 * TICK)
        with span("large"):
            held = bytearray(b"x") * (64 << 20)
            time.sleep(5 * TICK)
    assert clock.spent["large"].peak_mib > clock.spent["small"].peak_mib + 48
    assert len(held) == 64 << 20


def test_another_thread_is_not_watched():
    with Clock() as clock:
        other = threading.Thread(target=lambda: span("elsewhere").__enter__())
        other.start()
        other.join()
    assert "elsewhere" not in clock.spent


def test_without_a_clock_a_span_does_nothing():
    assert span("a") is span("b")
