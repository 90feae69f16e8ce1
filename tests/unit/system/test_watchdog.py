"""Which loop is stuck."""

from __future__ import annotations

from agent.core.system.watchdog import Watchdog


def test_a_loop_is_overdue_only_after_it_said_that_it_would_be_back() -> None:
    watchdog = Watchdog()
    assert watchdog.overdue(0) == []
    watchdog.beat("recording", 100)
    watchdog.beat("delivery", 50)
    assert watchdog.overdue(50) == []
    assert watchdog.overdue(51) == ["delivery"]
    assert watchdog.overdue(101) == ["delivery", "recording"]
    watchdog.beat("delivery", 200)
    assert watchdog.overdue(101) == ["recording"]


def test_a_loop_that_has_nothing_to_do_is_not_waited_for() -> None:
    watchdog = Watchdog()
    watchdog.beat("line rs485", 10)
    watchdog.forget("line rs485")
    watchdog.forget("line rs485")
    assert watchdog.overdue(1_000) == []
