"""The models this app knows, and how each comes into memory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import constants

from vlm_studio.core.cancel import CancelToken
from vlm_studio.core.conversation import Precision
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.ports import ModelCard
from vlm_studio.model.card import read_card
from vlm_studio.model.engine import LoadedModel
from vlm_studio.model.language_model import converted
from vlm_studio.model.lean import LeanDecoder, suits
from vlm_studio.model.loading import load
from vlm_studio.model.machine import Parameters
from vlm_studio.model.nano import IMAGE_SEQ_LEN, build
from vlm_studio.model.processor import StripFeeder
from vlm_studio.model.weights import Source, Tell, fetch

NANO = "idefics2-nano"

IDEFICS2_8B = Parameters(
    vision=417_792_240,
    connector=743_219_200,
    language=6_979_588_096,
    embeddings=131_084_288,
    head=131_084_288,
)
"""Weights of the 8B's parts: what a forecast needs before anything is fetched. A test counts them."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A model of the hub."""

    card: ModelCard
    source: Source
    parameters: Parameters = IDEFICS2_8B
    download_bytes: int = 33_600_000_000


def _card(name: str, title: str, summary: str) -> ModelCard:
    return ModelCard(
        name=name,
        title=title,
        summary=summary,
        reads_strips=True,
        sees_pictures=True,
        feed="pages",
        image_seq_len=64,
        longest_edge=980,
        licence="Apache-2.0",
        measured={
            "conditions": "Laurencon et al. 2024, Table 15: by its authors, without and with image splitting",
            "DocVQA": [67.3, 74.0],
            "TextVQA": [70.4, 73.0],
            "MMMU": [43.5, 43.0],
        },
    )


SPECS: dict[str, Spec] = {
    "idefics2-8b": Spec(
        _card(
            "idefics2-8b",
            "Idefics2-8B",
            "Sees pictures and reads pages, answers briefly. It invents words where writing is hard to read.",
        ),
        Source("HuggingFaceM4/idefics2-8b", "2c42686c57fe21cf0348c9ce1077d094b72e7698"),
    ),
    "idefics2-8b-chatty": Spec(
        _card(
            "idefics2-8b-chatty",
            "Idefics2-8B chatty",
            "Idefics2-8B tuned for longer conversations. It invents words where writing is hard to read.",
        ),
        Source("HuggingFaceM4/idefics2-8b-chatty", "8e65868b394317b973bd61db3b08e6478ebeedbf"),
    ),
}
"""At the commits that several public records of runs agree on; what arrives is held against the hub's own checksums."""


def specs(revisions: Sequence[str]) -> dict[str, Spec]:
    """`SPECS` with other revisions, each as ``name=revision``. Raises InvalidRequest for what is none."""
    found = dict(SPECS)
    for item in revisions:
        name, _, revision = item.partition("=")
        if name not in found or not re.fullmatch(r"[\w][\w.\-]{0,99}", revision):
            raise InvalidRequest(
                f"{item!r} names no revision of a model.",
                f"Set VLM_STUDIO_REVISIONS to name=commit, with a name of {', '.join(found)}.",
            )
        found[name] = replace(found[name], source=replace(found[name].source, revision=revision))
    return found


def names() -> tuple[str, ...]:
    """Every model that can be chosen, the embedded one first."""
    return (NANO, *SPECS)


def load_nano(assets: Path, cache_dir: Path | None) -> LoadedModel:
    """idefics2-nano in float32 on the processor. Raises ModelUnavailable."""
    language = converted(cache_dir)
    model, processor = build(language, assets / "nano")
    return LoadedModel(
        model=model,
        processor=processor,
        feeder=StripFeeder(processor, IMAGE_SEQ_LEN),
        card=read_card(assets / "nano" / "card.json"),
        end_ids=frozenset({int(processor.tokenizer.eos_token_id)}),
        never_ids=frozenset({processor.image_token_id, processor.around_token_id}),
        revision=_digest(assets / "nano"),
        lean=LeanDecoder(model, language.with_name(f"{language.name}-packed")) if suits(model) else None,
    )


def load_hub(
    spec: Spec, cache_dir: Path | None, offline: bool, precision: Precision, tell: Tell, cancel: CancelToken
) -> LoadedModel:
    """A model of the hub, fetched first where it is not here. Raises ModelUnavailable, OutOfMemory or Cancelled."""
    folder = fetch(spec.source, cache_dir, tell, cancel, offline or bool(constants.HF_HUB_OFFLINE))
    tell(f"Loading {spec.card.title} into memory.")
    return load(folder, spec.card, spec.source.revision, precision)


def _digest(folder: Path) -> str:
    """What names the weights in `folder` in cache keys: they change with every release."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
