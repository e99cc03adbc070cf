"""The text of a page as a list of lines that can be clicked. Everything typed or read is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vlm_studio.core.documents import ReadLine, WordReading


def transcript_html(lines: Sequence[ReadLine], selected: int | None, authors: Sequence[str]) -> str:
    """One list item a line, in reading order; `authors` says per line who wrote its text last."""
    items = [
        _item(index, line, index == selected, authors[index] if index < len(authors) else "reader")
        for index, line in enumerate(lines)
    ]
    return '<ol class="transcript" role="listbox" aria-label="Lines of the page">' + "".join(items) + "</ol>"


def _item(index: int, read: ReadLine, selected: bool, author: str) -> str:
    classes = ["line"]
    if selected:
        classes.append("selected")
    if read.line.maybe_skipped and not read.reading.text:
        body = '<span class="skipped">Ink here that no line covers. Choose it to read it.</span>'
    elif author == "person":
        classes.append("corrected")
        body = f'<span class="text">{escape(read.reading.text)}</span><span class="who">yours</span>'
    else:
        body = f'<span class="text">{_words(read)}</span>'
    return (
        f'<li class="{" ".join(classes)}" data-line="{index}" role="option" tabindex="0" '
        f'aria-selected="{"true" if selected else "false"}">{body}</li>'
    )


def _words(read: ReadLine) -> str:
    if not read.reading.words:
        return escape(read.reading.text) or '<span class="skipped">nothing legible</span>'
    return " ".join(_word(word) for word in read.reading.words)


def _word(word: WordReading) -> str:
    if not word.doubtful:
        return escape(word.text)
    others = ", ".join(a.text for a in word.alternatives)
    title = f"{word.confidence:.0%} sure" + (f"; or: {others}" if others else "")
    title += f"; {word.warning}" if word.warning else ""
    return f'<mark title="{escape(title, quote=True)}">{escape(word.text)}</mark>'
