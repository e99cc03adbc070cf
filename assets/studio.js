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

// What is typed and not yet sent outlives a reload of this browser tab: kept as it is typed, offered to the empty box.
const DRAFTS = ['chat-text', 'documents-question', 'inspect-question'];
const boxOf = (id) => document.querySelector(`#${id} textarea`);
const keepDraft = (id) => {
  const box = boxOf(id);
  if (box?.dataset.draft !== 'offered') return;
  try { sessionStorage.setItem(`draft-${id}`, box.value); } catch { /* a browser that keeps nothing */ }
};
const offerDrafts = () => DRAFTS.forEach((id) => {
  const box = boxOf(id);
  if (!box || box.dataset.draft === 'offered') return;
  box.dataset.draft = 'offered';
  let kept = '';
  try { kept = sessionStorage.getItem(`draft-${id}`) ?? ''; } catch { return; }
  if (!kept || box.value) return;
  box.value = kept;
  box.dispatchEvent(new Event('input', { bubbles: true }));
});
const watchDrafts = () => {
  offerDrafts();
  new MutationObserver(offerDrafts).observe(document.body, { childList: true, subtree: true });
  document.addEventListener('input', (event) => {
    const id = DRAFTS.find((name) => boxOf(name) === event.target);
    if (id) keepDraft(id);
  });
  // A message that was sent left its box empty without typing: that is what counts when the page goes.
  window.addEventListener('pagehide', () => DRAFTS.forEach(keepDraft));
};
if (document.body) watchDrafts(); else document.addEventListener('DOMContentLoaded', watchDrafts);
