from __future__ import annotations

from vlm_studio.core.adapters import Interval
from vlm_studio.tasks.adapt_gate import bootstrap, judge

WANTED = [f"line {n} of a letter to my sister" for n in range(12)]
SPOILT = [text.replace("letter", "lattor").replace("sister", "sisler") for text in WANTED]


def test_two_identical_readings_differ_by_exactly_nothing() -> None:
    assert bootstrap(WANTED, SPOILT, SPOILT) == Interval(0.0, 0.0, 0.0)
    verdict = judge(WANTED, SPOILT, SPOILT, 2, (0.1, 0.1))
    assert not verdict.passed
    assert "no better" in verdict.why
    assert "Correct more lines" in verdict.why
    assert "little is left to learn" in judge(WANTED, WANTED, WANTED, 2, (0.1, 0.1)).why
    assert verdict.cer_before == verdict.cer_after


def test_what_is_better_on_every_line_passes() -> None:
    verdict = judge(WANTED, SPOILT, WANTED, 2, (0.1, 0.11))
    assert verdict.passed
    assert verdict.cer_after == 0
    assert verdict.cer_change.low <= verdict.cer_change.mean <= verdict.cer_change.high < 0
    assert "100% fewer" in verdict.why


def test_one_lucky_line_among_many_is_chance() -> None:
    after = [WANTED[0], *SPOILT[1:6], *[text + "xx" for text in SPOILT[6:7]], *SPOILT[7:]]
    verdict = judge(WANTED, SPOILT, after, 2, (0.1, 0.1))
    assert verdict.cer_change.mean < 0 <= verdict.cer_change.high
    assert not verdict.passed
    assert "chance" in verdict.why


def test_forgetting_other_hands_is_refused() -> None:
    verdict = judge(WANTED, SPOILT, WANTED, 2, (0.10, 0.16))
    assert not verdict.passed
    assert "other hands" in verdict.why


def test_a_handful_of_lines_tells_nothing() -> None:
    verdict = judge(WANTED[:3], SPOILT[:3], WANTED[:3], 1, (0.1, 0.1))
    assert not verdict.passed
    assert "too few" in verdict.why
