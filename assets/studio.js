// Pasted pictures and PDFs go to the upload of the tab that is open, as if they had been dropped there.
document.addEventListener('paste', (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length || event.target.closest?.('.accepts-paste')) return;
  const inputs = [...document.querySelectorAll('.paste-target input[type=file]')];
  const input = inputs.find((node) => node.closest('.paste-target').offsetParent !== null);
  if (!input) return;
  const data = new DataTransfer();
  files.forEach((file) => data.items.add(file));
  input.files = data.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
  event.preventDefault();
});

// An upload says its own label: "Drop photos or PDFs of handwriting here ...", not "Drop File Here - or - Click to Upload".
const sayLabels = () => document.querySelectorAll('[data-testid="upload-text"]:not([data-says])').forEach((node) => {
  const label = node.closest('.block')?.querySelector('label[data-testid="block-label"]');
  if (label?.textContent.trim()) node.dataset.says = label.textContent.trim();
});
const watchLabels = () => {
  sayLabels();
  new MutationObserver(sayLabels).observe(document.body, { childList: true, subtree: true });
};
if (document.body) watchLabels(); else document.addEventListener('DOMContentLoaded', watchLabels);

// What is typed and not yet sent outlives a reload of this browser tab. What was kept is put into the empty box, again after the
// server has filled the page, until somebody types there or presses the button beside it.
const DRAFTS = { 'chat-text': 'chat-send', 'documents-question': 'documents-ask', 'inspect-question': 'inspect-ask' };
const boxOf = (id) => document.querySelector(`#${id} textarea`);
const drafts = (act) => Object.keys(DRAFTS).forEach((id) => {
  try { act(id, `draft-${id}`); } catch { /* a browser that keeps nothing */ }
});
const offered = new Map();
drafts((id, key) => { if (sessionStorage.getItem(key)) offered.set(id, sessionStorage.getItem(key)); });
const offer = () => offered.forEach((text, id) => {
  const box = boxOf(id);
  if (!box || box.value) return;
  box.value = text;
  box.dispatchEvent(new Event('input', { bubbles: true }));
});
const offering = setInterval(() => (offered.size ? offer() : clearInterval(offering)), 300);
const touched = (event) => {
  if (!event.isTrusted) return;
  drafts((id, key) => {
    if (event.target !== boxOf(id) && !event.target.closest?.(`#${DRAFTS[id]}`)) return;
    offered.delete(id);
    if (event.type === 'input') sessionStorage.setItem(key, event.target.value);
  });
};
['input', 'keydown', 'click'].forEach((type) => document.addEventListener(type, touched, true));
// A message that was sent left its box empty without typing: that is what counts when the page goes.
window.addEventListener('pagehide', () => drafts((id, key) => {
  if (!offered.has(id) && boxOf(id)) sessionStorage.setItem(key, boxOf(id).value);
}));
