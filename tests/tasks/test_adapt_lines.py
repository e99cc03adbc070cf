from __future__ import annotations

import pytest

from vlm_studio.core.adapters import Adapter, AdapterFacts, Interval, ReadLineOf, Verdict
from vlm_studio.core.documents import Box, Line, LineReading, WordReading
from vlm_studio.core.sessions import TrainingLine
from vlm_studio.tasks.adapt_lines import advice, next_lines, split


def corrected(page: str, count: int) -> list[TrainingLine]:
    return [
        TrainingLine(f"{page}{n}", "s", page, Line(Box(0, n, 9, n + 1)), f"text {n}", "", "local", f"t{n}")
        for n in range(count)
    ]


def waiting(line_id: str, page: str, confidence: float, text: str = "hello there") -> ReadLineOf:
    words = tuple(WordReading(w, confidence, Box(0, 0, 9, 9)) for w in text.split())
    return ReadLineOf(
        line_id, "s", "notes.png", page, Line(Box(0, 0, 9, 9)), LineReading(text, confidence, words)
    )


@pytest.mark.parametrize("sizes", [(10, 10), (2, 9, 9), (30, 6, 1), (5, 5, 5, 5), (40, 8)])
def test_whole_pages_are_kept_back_and_at_least_half_is_learned_from(sizes: tuple[int, ...]) -> None:
    lines = [line for n, size in enumerate(sizes) for line in corrected(f"page{n}", size)]
    parts = split(lines)
    assert {x.page_image_sha256 for x in parts.learn}.isdisjoint(x.page_image_sha256 for x in parts.held)
    assert len(parts.learn) + len(parts.held) == sum(sizes)
    assert 0 < len(parts.held) <= sum(sizes) / 2
    assert len(parts.held) >= 5


def test_one_page_alone_is_never_split() -> None:
    parts = split(corrected("a", 30))
    assert parts.held == ()
    told = advice(split(corrected("a", 30)), [])
    assert not told.ready
    assert "another page" in told.sentence


def test_advice_grows_with_the_corrections() -> None:
    assert not advice(split(corrected("a", 3)), []).ready
    assert not advice(split([*corrected("a", 20), *corrected("b", 2)]), []).ready
    assert advice(split([*corrected("a", 7), *corrected("b", 6)]), []).ready
    assert advice(split([*corrected("a", 20), *corrected("b", 10)]), []).sentence == "Enough to train."


def adapter(lines: int, cer_after: float) -> Adapter:
    verdict = Verdict(True, "", 20, 2, 0.2, cer_after, 0.5, 0.4, Interval(-0.1, -0.2, -0.01), 0.1, 0.1)
    return Adapter(
        "a", "local", "n", "", AdapterFacts("hand", "b", "c", 8, 9, lines), "d", "trained", "t", verdict
    )


def test_advice_says_when_to_stop() -> None:
    lines = [*corrected("a", 70), *corrected("b", 20)]
    assert "you can stop" in advice(split(lines), [adapter(60, 0.1), adapter(40, 0.101)]).sentence
    assert "you can stop" not in advice(split(lines), [adapter(60, 0.1), adapter(40, 0.15)]).sentence
    assert "Nothing new" in advice(split(lines[:30] + lines[70:80]), [adapter(30, 0.1)]).sentence


def test_doubtful_lines_come_first_and_spread_over_pages() -> None:
    lines = [waiting(f"a{n}", "a", 0.5) for n in range(9)] + [waiting(f"b{n}", "b", 0.6) for n in range(9)]
    lines += [waiting("sure", "c", 0.99), waiting("noise", "c", 0.1)]
    chosen = next_lines(lines, [], 6)
    assert chosen[0].line.line_id == "a0"
    assert {c.line.page_image_sha256 for c in chosen} == {"a", "b"}
    assert "noise" not in {c.line.line_id for c in next_lines(lines, [], 50)}
    # A page with many corrections has little left to teach.
    assert next_lines(lines, corrected("a", 40), 3)[0].line.page_image_sha256 == "b"


def test_leaving_a_line_out_moves_no_page() -> None:
    lines = [*corrected("a", 10), *corrected("b", 10), *corrected("c", 10)]
    (held,) = {line.page_image_sha256 for line in split(lines).held}
    for line in lines:
        parts = split(lines, {line.line_id})
        assert {x.page_image_sha256 for x in parts.held} == {held}
        assert line not in (*parts.learn, *parts.held)
    # Until too few of them are left to test on.
    assert held not in {x.page_image_sha256 for x in split(lines, {f"{held}{n}" for n in range(8)}).held}


def test_what_was_kept_back_stays_kept_back_while_that_suits() -> None:
    lines = [*corrected("a", 10), *corrected("b", 10), *corrected("c", 3)]

    def held(kept: str, found: list[TrainingLine] = lines) -> set[str]:
        return {line.page_image_sha256 for line in split(found, (), kept).held}

    assert held("a") == {"a"} and held("b") == {"b"}
    # More are kept back with it once there are more lines, or another where it has most of them.
    assert held("a", [*lines, *corrected("d", 30), *corrected("e", 10)]) > {"a"}
    assert held("a", [*corrected("a", 40), *corrected("b", 10)]) == {"b"}
