"""The pieces of the Chat tab that run in the browser: markers at the caret, drops, buttons of messages."""

from __future__ import annotations

MESSAGES_JS = """
const scroller = () => document.querySelector('#chat-scroll');
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button || button.disabled) return;
  if (button.dataset.act === 'copy') {
    navigator.clipboard?.writeText(button.dataset.copy);
    const said = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = said; }, 1500);
    return;
  }
  trigger('select', {act: button.dataset.act, turn: button.dataset.turn || '',
    number: Number(button.dataset.number || 0), place: Number(button.dataset.place || -1)});
});
const box = scroller();
let near = true, last = '';
box?.addEventListener('scroll', () => { near = box.scrollHeight - box.scrollTop - box.clientHeight < 120; });
watch('value', () => requestAnimationFrame(() => {
  const asked = [...document.querySelectorAll('#chat-messages .turn.asked')].pop();
  const turns = document.querySelectorAll('#chat-messages .turn').length + (asked?.dataset.turn ?? '');
  if (element.id === 'chat-messages' && turns !== last && asked)
    box.scrollTop += asked.getBoundingClientRect().top - box.getBoundingClientRect().top - 8;
  else if (near) box.scrollTop = box.scrollHeight;
  last = turns;
}));
"""
"""For the kept messages and the one being written. A new question goes to the top; an answer longer than the view is
followed, unless someone scrolled up."""

TRAY_JS = r"""
const text = () => document.querySelector('#chat-text textarea');
const insert = (number) => {
  const field = text();
  if (!field) return;
  field.focus();
  const before = field.value.slice(0, field.selectionStart), marker = '<image ' + number + '>';
  const padded = (before && !/\s$/.test(before) ? ' ' : '') + marker;
  field.setRangeText(padded, field.selectionStart, field.selectionEnd, 'end');
  field.dispatchEvent(new Event('input', {bubbles: true}));
};
const mark = () => {
  const written = text()?.value ?? '';
  element.querySelectorAll('li[data-number]').forEach((item) => {
    const placed = new RegExp('<image\\s*#?' + item.dataset.number + '\\s*>', 'i').test(written);
    item.classList.toggle('placed', placed);
  });
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  if (button.dataset.act === 'insert') { insert(button.dataset.number); return; }
  trigger('select', {act: button.dataset.act, number: Number(button.dataset.number)});
});
element.addEventListener('dragstart', (event) => {
  const item = event.target.closest('li[data-number]');
  if (item) event.dataTransfer.setData('text/plain', '<image ' + item.dataset.number + '>');
});
document.addEventListener('input', (event) => { if (event.target === text()) mark(); });
watch('value', () => requestAnimationFrame(mark));
const composer = element.closest('#chat-composer');
composer?.addEventListener('dragover', (event) => {
  if ([...event.dataTransfer.types].includes('Files')) { event.preventDefault(); composer.classList.add('dropping'); }
});
composer?.addEventListener('dragleave', () => composer.classList.remove('dropping'));
composer?.addEventListener('drop', (event) => {
  composer.classList.remove('dropping');
  const files = [...event.dataTransfer.files], input = composer.querySelector('input[type=file]');
  if (!files.length || !input) return;
  event.preventDefault();
  const data = new DataTransfer();
  files.forEach((file) => data.items.add(file));
  input.files = data.files;
  input.dispatchEvent(new Event('change', {bubbles: true}));
});
"""
"""Thumbnails put their marker at the caret, or where they are dropped; files dropped anywhere are attached."""
