"""The text of a page as a list of lines that can be clicked. Everything typed or read is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vlm_studio.core.documents import LineReading, ReadLine, WordReading


def transcript_html(
    lines: Sequence[ReadLine], selected: int | None, authors: Sequence[str], word: int = -1
) -> str:
    """One list item a line, in reading order; `authors` says per line who wrote its text last.

    Each word says how sure it is; number `word` of the selected line is marked as the one in view.
    """
    items = [
        _item(
            index,
            line,
            index == selected,
            authors[index] if index < len(authors) else "reader",
            word if index == selected else -1,
        )
        for index, line in enumerate(lines)
    ]
    return '<ol class="transcript" role="listbox" aria-label="Lines of the page">' + "".join(items) + "</ol>"


def alternatives_html(reading: LineReading) -> str:
    """A chip for each other reading of a doubtful word; data-word and data-choice say which."""
    rows = []
    for number, word in enumerate(reading.words):
        if not word.doubtful or not word.alternatives:
            continue
        chips = "".join(
            f'<button type="button" data-word="{number}" data-choice="{choice}">{escape(other.text)}</button>'
            for choice, other in enumerate(word.alternatives)
        )
        rows.append(f'<span class="of">{escape(word.text)} or</span>{chips}')
    return f'<div class="studio-chips">{" ".join(rows)}</div>' if rows else ""


def status_html(message: str, share: float | None, problem: bool = False) -> str:
    """A sentence, with a progress bar (0..1) while something runs."""
    bar = ""
    if share is not None:
        percent = round(100 * min(max(share, 0.0), 1.0))
        bar = (
            f'<span class="bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" '
            f'aria-valuemax="100"><i style="width:{percent}%"></i></span>'
        )
    kind = ' class="problem"' if problem else ""
    return f'<div class="studio-status" role="status"><span{kind}>{escape(message)}</span>{bar}</div>'


def _item(index: int, read: ReadLine, selected: bool, author: str, chosen: int) -> str:
    classes = ["line"]
    if selected:
        classes.append("selected")
    if "waiting" in read.reading.warnings and not read.line.maybe_skipped:
        classes.append("waiting")
        body = '<span class="skipped">...</span>'
    elif read.line.maybe_skipped and not read.reading.text:
        body = '<span class="skipped">Ink here that no line covers. Choose it and press Read again.</span>'
    elif author == "person":
        classes.append("corrected")
        body = f'<span class="text">{escape(read.reading.text)}</span><span class="who">yours</span>'
    else:
        body = f'<span class="text">{_words(read, chosen)}</span>'
    return (
        f'<li class="{" ".join(classes)}" data-line="{index}" role="option" tabindex="0" '
        f'aria-selected="{"true" if selected else "false"}">{body}</li>'
    )


def _words(read: ReadLine, chosen: int) -> str:
    if not read.reading.words:
        return escape(read.reading.text) or '<span class="skipped">nothing legible</span>'
    return " ".join(_word(i, word, i == chosen) for i, word in enumerate(read.reading.words))


def _word(index: int, word: WordReading, chosen: bool) -> str:
    """A doubtful word is a mark; every word carries its number and says on hover how sure it is."""
    title = f"{word.confidence:.0%} sure"
    if word.doubtful and word.alternatives:
        title += "; or: " + ", ".join(a.text for a in word.alternatives)
    title += f"; {word.warning}" if word.warning else ""
    tag, kind = ("mark" if word.doubtful else "span"), (' class="chosen"' if chosen else "")
    return f'<{tag}{kind} data-word="{index}" title="{escape(title, quote=True)}">{escape(word.text)}</{tag}>'
