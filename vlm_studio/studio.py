"""The composition root: settings in, one object with everything the UI and the command line need.

Heavy parts (models, ONNX sessions) are made at first use, so that the app starts in seconds and a
machine that only transcribes never loads torch.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from vlm_studio.core.settings import Settings
from vlm_studio.store.database import Database
from vlm_studio.tasks.live import LiveRuns

log = logging.getLogger(__name__)


def lazily(module: str, name: str) -> Callable[..., Any]:
    """`module.name`, imported when first called: keeps torch and onnxruntime out of start-up."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    return call


class Studio:
    """Everything of one running app. Closing it stops what runs and closes the database."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = Database(settings.data_dir / "studio.db")
        self.live = LiveRuns()
        self._lock = threading.RLock()

    def close(self, timeout: float = 10.0) -> None:
        """Stop running work, wait for it to save what it has, close the database."""
        if not self.live.stop_all(timeout):
            log.warning("work was still running after %s s and is left behind", timeout)
        self.database.close()
