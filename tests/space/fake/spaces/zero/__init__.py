"""`startup` is what Gradio's patched `launch` calls; an app that never calls `launch` has to do it itself."""

import os
from pathlib import Path


def startup() -> None:
    import spaces

    if "FAKE_SPACES_REPORT" in os.environ:
        Path(os.environ["FAKE_SPACES_REPORT"]).write_text(" ".join(spaces.DECORATED))
