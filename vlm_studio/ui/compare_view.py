"""The piece of the Frozen vs LoRA tab that runs in the browser: going over the words of a comparison."""

from __future__ import annotations

SHIFT_JS = """
const box = () => element.querySelector('.shift');
const show = (word) => {
  const shift = box();
  if (!shift) return;
  const range = shift.querySelector('input[type=range]');
  const next = Math.min(Number(range.max), Math.max(0, word));
  range.value = next;
  shift.querySelectorAll('[data-shown]').forEach((node) => { node.hidden = Number(node.dataset.shown) !== next; });
  element.querySelectorAll('.chances [data-word]').forEach((node) =>
    node.classList.toggle('chosen', Number(node.dataset.word) === next));
};
element.addEventListener('input', (event) => {
  if (event.target.matches('.shift input[type=range]')) show(Number(event.target.value));
});
element.addEventListener('click', (event) => {
  const step = event.target.closest('[data-step]'), word = event.target.closest('.chances [data-word]');
  if (step) show(Number(box().querySelector('input[type=range]').value) + Number(step.dataset.step));
  if (word) show(Number(word.dataset.word));
});
element.addEventListener('keydown', (event) => {
  const word = event.target.closest('.chances [data-word]');
  if (!word || !['Enter', ' '].includes(event.key)) return;
  event.preventDefault();
  show(Number(word.dataset.word));
});
watch('value', () => requestAnimationFrame(() => { if (box()) show(Number(box().dataset.word)); }));
"""
"""Everything is in the page already: a step is instant. A word of the list above is a step, too."""
