"""The models this app knows, and how each comes into memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from vlm_studio.core.ports import ModelCard
from vlm_studio.model.engine import LoadedModel
from vlm_studio.model.language_model import converted
from vlm_studio.model.nano import IMAGE_SEQ_LEN, build
from vlm_studio.model.processor import StripFeeder


def read_card(path: Path) -> ModelCard:
    """A `card.json`. Raises OSError, ValueError or KeyError."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    names = ModelCard.__dataclass_fields__
    return ModelCard(**{name: values[name] for name in names})


def load_nano(assets: Path, cache_dir: Path | None) -> LoadedModel:
    """idefics2-nano in float32 on the processor. Raises ModelUnavailable."""
    model, processor = build(converted(cache_dir), assets / "nano")
    return LoadedModel(
        model=model,
        processor=processor,
        feeder=StripFeeder(processor, IMAGE_SEQ_LEN),
        card=read_card(assets / "nano" / "card.json"),
        end_ids=frozenset({int(processor.tokenizer.eos_token_id)}),
        never_ids=frozenset({processor.image_token_id, processor.around_token_id}),
        revision=_digest(assets / "nano"),
    )


def _digest(folder: Path) -> str:
    """What names the weights in `folder` in cache keys: they change with every release."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
