"""A burst, then a steady measure; each name apart; a refused try costs nothing."""

from __future__ import annotations

import pytest

from vlm_studio.core.rates import Rates


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_then_a_steady_measure() -> None:
    clock = Clock()
    rates = Rates(per_minute=60, burst=3, clock=clock)
    assert [rates.take("a") for _ in range(3)] == [0, 0, 0]
    assert rates.take("a") == pytest.approx(1.0) and rates.take("a") == pytest.approx(1.0)
    assert rates.take("b") == 0
    clock.now += 1
    assert rates.take("a") == 0 and rates.take("a") > 0
    clock.now += 3600
    assert [rates.take("a") == 0 for _ in range(4)] == [True, True, True, False]


def test_names_without_end_take_no_memory_without_end() -> None:
    rates = Rates(per_minute=1, burst=1, clock=Clock())
    for number in range(10_050):
        rates.take(str(number))
    assert rates.take("10049") > 0 and rates.take("0") == 0
