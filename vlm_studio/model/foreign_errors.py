"""What torch, safetensors and the hub raise, said once in words that help."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError

from vlm_studio.core.errors import GenerationFailed, ModelUnavailable, OutOfMemory, StudioError

log = logging.getLogger(__name__)


@contextmanager
def translated() -> Iterator[None]:
    """Raises OutOfMemory, ModelUnavailable or GenerationFailed instead; StudioErrors pass."""
    try:
        yield
    except StudioError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as failure:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise OutOfMemory(
            "The model ran out of memory.", "Use fewer or smaller images, or a shorter conversation."
        ) from failure
    except SafetensorError as failure:
        raise ModelUnavailable("A weights file is damaged.", "Fetch it again.") from failure
    except (RuntimeError, ValueError, KeyError, IndexError, TypeError) as failure:
        log.exception("the model failed")
        raise GenerationFailed("The model failed.", "Try again; the log has the details.") from failure
