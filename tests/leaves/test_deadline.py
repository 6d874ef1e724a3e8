from __future__ import annotations

import threading

from mrhsm_p11 import deadline


def test_an_inner_limit_never_outlives_the_outer() -> None:
    with deadline.limit(1.0) as outer, deadline.limit(100.0) as inner:
        assert inner is outer
        assert deadline.current() is outer


def test_an_inner_limit_may_be_shorter() -> None:
    with deadline.limit(100.0) as outer:
        with deadline.limit(1.0) as inner:
            assert inner.at < outer.at
        assert deadline.current() is outer


def test_outside_a_call_each_question_starts_afresh() -> None:
    assert 9.0 < deadline.current().remaining_s() <= deadline.DEFAULT_S


def test_threads_have_their_own() -> None:
    seen: list[float] = []
    with deadline.limit(1.0):
        thread = threading.Thread(target=lambda: seen.append(deadline.current().remaining_s()))
        thread.start()
        thread.join()
    assert seen[0] > 9.0


def test_a_passed_deadline_has_nothing_left() -> None:
    past = deadline.Deadline(-1.0)
    assert past.passed
    assert past.remaining_s() == 0.0
