"""A step of the guided walk as a card."""

from __future__ import annotations

from html import escape
from typing import Protocol


class Step(Protocol):
    @property
    def title(self) -> str: ...
    @property
    def tells(self) -> str: ...
    @property
    def question(self) -> str: ...


def walk_html(
    step: Step | None, number: int, total: int, told: str, picture: str = "", guess: str = ""
) -> str:
    """`number` is 0-based; `told` is what was revealed; `picture` is HTML of ours. Without a step: the end."""
    dots = "".join(
        f'<i class="{"done" if i < number else "here" if i == number else ""}"></i>' for i in range(total)
    )
    title = "That was the walk" if step is None else f"{number + 1}. {step.title}"
    tells = "" if step is None else f"<p>{escape(step.tells)}</p>"
    if step is not None and guess:
        tells += f'<p class="guessed">{escape(step.question)} You said: {escape(guess)}.</p>'
    revealed = f'<p class="revealed">{escape(told)}</p>' if told else ""
    return (
        f'<div class="walk"><div class="dots" aria-hidden="true">{dots}</div><h3>{escape(title)}</h3>{tells}'
        f"{revealed}{picture}</div>"
    )
