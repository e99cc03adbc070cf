"""Pages to lines to text without a language model. The only importer of rapidocr."""
