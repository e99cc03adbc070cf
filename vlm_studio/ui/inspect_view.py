"""The pieces of the Inspect tab that run in the browser: a page that is clicked or drawn on, words, tokens."""

from __future__ import annotations

STAGE_JS = """
let from = null, strength = null;
const stage = () => element.querySelector('.stage');
const share = (event) => {
  const box = stage().getBoundingClientRect();
  const clamp = (value) => Math.min(1, Math.max(0, value));
  return [clamp((event.clientX - box.left) / box.width), clamp((event.clientY - box.top) / box.height)];
};
const draw = (a, b) => {
  const rubber = element.querySelector('.rubber');
  if (!rubber) return;
  Object.assign(rubber.style, { display: 'block', left: 100 * Math.min(a[0], b[0]) + '%', top: 100 * Math.min(a[1], b[1]) + '%',
    width: 100 * Math.abs(a[0] - b[0]) + '%', height: 100 * Math.abs(a[1] - b[1]) + '%' });
};
const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) > 0.012;
element.addEventListener('pointerdown', (event) => {
  if (event.button === 0 && event.target.closest('.stage')) from = share(event);
});
element.addEventListener('pointermove', (event) => {
  if (from && event.pointerType === 'mouse' && far(from, share(event))) draw(from, share(event));
});
window.addEventListener('pointerup', (event) => {
  if (!from) return;
  const start = from, end = stage() ? share(event) : from;
  from = null;
  if (event.pointerType === 'mouse' && far(start, end)) trigger('select', { region: [...start, ...end] });
  else {
    const line = event.target.closest?.('[data-line]');
    trigger('select', { point: end, line: line ? Number(line.dataset.line) : -1 });
  }
});
element.addEventListener('keydown', (event) => {
  const line = event.target.closest('[data-line]');
  if (line && (event.key === 'Enter' || event.key === ' ')) {
    event.preventDefault();
    trigger('select', { point: [0, 0], line: Number(line.dataset.line) });
  }
});
const paint = () => {
  if (strength === null) return;
  element.querySelectorAll('.heat').forEach((heat) => { heat.style.opacity = strength / 100; });
  const slider = element.querySelector('input[type=range]');
  if (slider) slider.value = strength;
};
element.addEventListener('input', (event) => {
  if (event.target.matches('input[type=range]')) { strength = Number(event.target.value); paint(); }
});
watch('value', paint);
"""
"""A click chooses a line, dragging with a mouse marks a region (shares of width and height), the slider is instant."""

WORDS_JS = """
const choose = (node) => { if (node) trigger('select', {of: node.dataset.of, word: Number(node.dataset.word)}); };
element.addEventListener('click', (event) => choose(event.target.closest('[data-word]')));
element.addEventListener('keydown', (event) => {
  const here = event.target.closest('[data-word]');
  if (!here || !['ArrowRight', 'ArrowLeft'].includes(event.key)) return;
  const all = [...element.querySelectorAll('[data-word]')], next = all[all.indexOf(here) + (event.key === 'ArrowRight' ? 1 : -1)];
  if (next) { event.preventDefault(); next.focus(); choose(next); }
});
"""

TOKENS_JS = """
element.addEventListener('click', (event) => {
  const token = event.target.closest('[data-token]');
  if (token) trigger('select', {token: Number(token.dataset.token)});
});
"""

REMEMBER_INSPECTION_JS = """(id) => {
  const url = new URL(window.location);
  if (id) url.searchParams.set('inspect', id); else url.searchParams.delete('inspect');
  window.history.replaceState({}, '', url);
}"""
"""A reload or a copied address opens the same inspection; whose it is is checked on the server."""
