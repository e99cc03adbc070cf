"""The pieces of the Transcribe tab that run in the browser: clickable lines, clickable alternatives, paste."""

from __future__ import annotations

LINES_JS = """
const choose = (node) => { if (node) trigger('select', {index: Number(node.dataset.line)}); };
element.addEventListener('click', (event) => choose(event.target.closest('[data-line]')));
element.addEventListener('keydown', (event) => {
  const here = event.target.closest('[data-line]');
  if (!here) return;
  if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose(here); }
  const next = event.key === 'ArrowDown' ? here.nextElementSibling
    : event.key === 'ArrowUp' ? here.previousElementSibling : null;
  if (next) { event.preventDefault(); next.focus(); }
});
watch('value', () => {
  const list = element.querySelector('.transcript'), chosen = element.querySelector('.selected');
  if (list && chosen && list.scrollHeight > list.clientHeight)
    list.scrollTop = chosen.offsetTop - list.clientHeight / 2;
});
"""
"""Lines are chosen by click or keyboard; the chosen one is scrolled into view."""

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
