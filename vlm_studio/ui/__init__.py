"""The only importer of gradio: what a person clicks, and nothing else."""
