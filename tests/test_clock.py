"""The time that a run has taken and will take."""

import time

import pytest

from sparl.train.books import Books
from sparl.train.clock import Clock


def test_no_time_is_promised_before_there_are_updates():
    books = Books.empty(1)
    clock = Clock(books, time.perf_counter() - 10)
    clock.read()
    books.env_steps = 1000
    assert clock.left(4000) is None
    books.updates[0] = 1
    assert clock.left(4000) == pytest.approx(30, rel=0.1)
