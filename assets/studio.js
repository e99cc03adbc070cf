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
