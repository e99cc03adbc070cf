"""The pieces of the Transcribe tab that run in the browser: clickable lines, clickable alternatives, paste."""

from __future__ import annotations

LINES_JS = """
const field = () => document.querySelector('#transcribe-line textarea, #transcribe-line input');
let typing = false;
// Keys that come before the answer would stand in a field that is about to be filled with another line.
let waiting = 0, held = '';
const wait = () => { clearTimeout(waiting); waiting = setTimeout(goOn, 10000); };
const goOn = () => {
  clearTimeout(waiting);
  waiting = 0;
  const keys = held, input = field();
  held = '';
  if (!keys || !input) return;
  input.focus({preventScroll: true});
  document.execCommand('insertText', false, keys);
};
document.addEventListener('transcribe-answer', () => requestAnimationFrame(() => setTimeout(goOn)));
document.addEventListener('beforeinput', (event) => {
  if (!waiting || !event.cancelable || !event.target.closest?.('#transcribe-line')) return;
  event.preventDefault();
  held = event.inputType === 'deleteContentBackward' ? held.slice(0, -1) : held + (event.data ?? '');
});
window.addEventListener('beforeunload', (event) => {
  const typed = field()?.value.trim(), given = document.querySelector('#transcribe-given input, #transcribe-given textarea');
  if (typed && given && typed !== given.value.trim()) event.preventDefault();
});
// A tap is to look at a line; the keyboard of a telephone would cover it.
const byTouch = window.matchMedia('(pointer: coarse)').matches;
const choose = (node, word) => {
  if (!node) return;
  typing = !byTouch;
  trigger('select', word === undefined ? {index: Number(node.dataset.line)}
    : {index: Number(node.dataset.line), word: Number(word)});
};
element.addEventListener('click', (event) =>
  choose(event.target.closest('[data-line]'), event.target.closest('[data-word]')?.dataset.word));
element.addEventListener('keydown', (event) => {
  const here = event.target.closest('[data-line]');
  if (!here) return;
  if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose(here); }
  const next = event.key === 'ArrowDown' ? here.nextElementSibling
    : event.key === 'ArrowUp' ? here.previousElementSibling : null;
  if (next) { event.preventDefault(); next.focus(); }
});
document.addEventListener('keydown', (event) => {
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
  const chosen = element.querySelector('.selected');
  if (!chosen || !event.target.closest?.('#transcribe-line')) return;
  if (event.key === 'Enter' && waiting) event.preventDefault();
  if (event.key === 'Enter') { typing = true; wait(); }
  if (event.key === 'Escape') { event.preventDefault(); chosen.focus(); }
  const next = event.key === 'ArrowDown' ? chosen.nextElementSibling
    : event.key === 'ArrowUp' ? chosen.previousElementSibling : null;
  if (next) { event.preventDefault(); wait(); choose(next); }
});
watch('value', () => {
  const list = element.querySelector('.transcript'), chosen = element.querySelector('.selected');
  if (list && chosen && list.scrollHeight > list.clientHeight)
    list.scrollTop = chosen.offsetTop - list.clientHeight / 2;
  if (!typing || !chosen) return;
  typing = false;
  // The field is filled and shown in the same update, a moment after this list.
  requestAnimationFrame(() => setTimeout(() => {
    const input = field();
    if (!input) return;
    input.focus({preventScroll: true});
    const word = chosen.querySelector('.chosen');
    if (!word) return;
    const at = [...chosen.querySelectorAll('[data-word]')].slice(0, Number(word.dataset.word))
      .reduce((sum, node) => sum + node.textContent.length + 1, 0);
    input.setSelectionRange(at, at + word.textContent.length);
  }));
});
"""
"""Lines and words are chosen by click or keyboard; the chosen one is scrolled into view and its text is ready to be typed.

In the field, arrows go to the lines above and below and Escape goes back to the list. What is typed until the
answer to Enter or an arrow is there goes into the next line; leaving the page with a line half typed is asked about."""

ANSWER_JS = "() => { document.dispatchEvent(new Event('transcribe-answer')); }"
"""The answer to Enter or to the choice of a line is there, or failed."""

COPY_TEXT_JS = """() => {
  const lines = [...document.querySelectorAll('#transcribe-lines .line .text')].map((node) => node.textContent);
  navigator.clipboard?.writeText(lines.join('\\n'));
  const button = document.querySelector('#transcribe-copy');
  if (button && lines.length) {
    const label = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = label; }, 1200);
  }
}"""

ALTERNATIVES_JS = """
element.addEventListener('click', (event) => {
  const chip = event.target.closest('[data-word]');
  if (chip) trigger('select', {word: Number(chip.dataset.word), choice: Number(chip.dataset.choice)});
});
"""

PICTURES_JS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-index]');
  if (button) trigger('select', {index: Number(button.dataset.index)});
});
"""
"""For views/picture_buttons.py."""

REMEMBER_SESSION_JS = """(id) => {
  const url = new URL(window.location);
  if (id) url.searchParams.set('session', id); else url.searchParams.delete('session');
  window.history.replaceState({}, '', url);
}"""
"""A reload or a copied address opens the same session; whose it is is checked on the server."""
