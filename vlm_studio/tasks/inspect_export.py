"""An inspection as JSON values, for the command line and the API."""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm_studio.core.documents import Box
from vlm_studio.core.traces import HeatMap, Honesty
from vlm_studio.tasks.inspect_look import Chosen, Look, Looking, Method

WARM = 0.5
"""Of the hottest: cells above it make the box of a word."""


def inspection_value(looking: Looking, owner: str, look: Look, method: Method) -> dict[str, Any]:
    """Question, answer, what was fed, and each word with how much of it was read and where the model looked."""
    made = look.inspection
    pages = {page.id: page for page in look.pages}
    return {
        "inspection": made.id,
        "session": made.session_id,
        "model": made.model,
        "adapter": made.adapter,
        "question": made.question,
        "answer": made.answer,
        "seconds": round(made.seconds, 3),
        "trace_seconds": round(made.trace_seconds, 3),
        "notes": list(made.notes),
        "method": method,
        "fed": [
            {
                "file": pages[fed.page_id].filename,
                "page": pages[fed.page_id].page.index + 1,
                "box": fed.box.as_list(),
                "size": [crop.model_size_hw[1], crop.model_size_hw[0]],
                "patches": crop.patch_hw[0] * crop.patch_hw[1],
                "pooled_tokens": crop.token_positions[1] - crop.token_positions[0],
                "spells": "".join(spelled),
            }
            for fed, crop, spelled in _fed(look)
        ],
        "words": [
            {
                "text": word.text,
                "probability": round(word.with_image, 4),
                "without_image": round(word.without_image, 4),
                "source": word.source,
                **_place(looking, owner, look, Chosen(index, method=method)),
            }
            for index, word in enumerate(made.words)
        ],
    }


def _fed(look: Look) -> list[tuple[Any, Any, tuple[str, ...]]]:
    pooled = look.trace.pooled
    found = []
    for index, crop in enumerate(look.trace.crops):
        fed = look.inspection.fed[index if crop.kind == "strip" else 0]
        found.append((fed, crop, pooled.spells[index] if pooled is not None and pooled.spells else ()))
    return found


def _place(looking: Looking, owner: str, look: Look, chosen: Chosen) -> dict[str, Any]:
    heats = looking.heat(owner, look.inspection.id, chosen)
    heat = max(heats, key=lambda found: found.raw_max)
    page = next(p for p in look.pages if p.page.image_sha256 == heat.image_sha256)
    return {
        "page": page.page.index + 1,
        "looked_at": warm_box(heat, (page.page.height_px, page.page.width_px)).as_list(),
    }


def warm_box(heat: HeatMap, image_hw: tuple[int, int]) -> Box:
    """The box around all that is at least half as hot as the hottest, page pixels."""
    rows, cols = np.nonzero(heat.grid >= WARM) if heat.grid.max() > 0 else np.nonzero(heat.grid >= 0)
    down, across = image_hw[0] / heat.grid.shape[0], image_hw[1] / heat.grid.shape[1]
    return Box(
        float(cols.min() * across),
        float(rows.min() * down),
        float((cols.max() + 1) * across),
        float((rows.max() + 1) * down),
    )


def honesty_value(found: Honesty) -> dict[str, Any]:
    """Drops are mean natural log-probabilities lost per token."""
    return {
        "verdict": found.verdict,
        "better_than_random": found.better_than_random,
        "drops": [{"area": d.area, "share": d.share, "drop": round(d.drop, 4)} for d in found.drops],
        **({} if found.deletion_auc is None else {"deletion": round(found.deletion_auc, 4)}),
        **({} if found.insertion_auc is None else {"insertion": round(found.insertion_auc, 4)}),
    }
