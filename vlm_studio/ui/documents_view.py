"""The pieces of the Documents tab that run in the browser: what was clicked, as data."""

from __future__ import annotations

DOCUMENTS_JS = """
element.addEventListener('click', (event) => {
  const node = event.target.closest('[data-act]');
  if (!node) return;
  const data = {act: node.dataset.act, document: node.dataset.document};
  if (node.type === 'checkbox') data.on = node.checked;
  trigger('select', data);
});
"""

ASKED_JS = """
element.addEventListener('click', (event) => {
  const node = event.target.closest('[data-act]');
  if (node) trigger('select', {
    act: node.dataset.act, turn: node.dataset.turn, citation: Number(node.dataset.citation || 0)});
});
"""
