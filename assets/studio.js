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
