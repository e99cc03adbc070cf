"""A model's card from its file: without torch, so that what a model can do is known before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vlm_studio.core.ports import ModelCard


def read_card(path: Path) -> ModelCard:
    """A `card.json`. Raises OSError, ValueError or KeyError."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    fields = ModelCard.__dataclass_fields__
    return ModelCard(**{name: values[name] for name in fields})
