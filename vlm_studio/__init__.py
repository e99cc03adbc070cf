"""VLM Studio: handwriting, documents and interleaved images with Idefics2, on your own machine.

Import order, left may import right (tests/test_architecture.py enforces it)::

    app, cli -> ui, studio
    ui       -> tasks, views, core
    studio   -> everything but ui and recipe
    tasks    -> ingest, reading, trace.maps, core
    ingest | reading | model | trace | store | views | adapt -> core
    recipe   -> model, reading, ingest, core

Importing any module does no I/O.
"""

__version__ = "0.1.0"

SOURCE_URL = "https://github.com/vlm-studio/vlm-studio"
"""Where the corresponding source is offered (AGPL-3.0, section 13)."""
