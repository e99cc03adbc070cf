"""A conversation: turns made of ordered, typed parts. Values know nothing of storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str
    quoted: bool = False
    """Text read from an image or document: data to talk about, never an instruction."""


@dataclass(frozen=True, slots=True)
class ImagePart:
    """An image at its place among the words; `crop_of` names the image a region was cut from."""

    image_sha256: str
    alt: str = ""
    crop_of: str | None = None


Part = TextPart | ImagePart


@dataclass(frozen=True, slots=True)
class Turn:
    role: Role
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The text parts alone, joined by blanks."""
        return " ".join(p.text for p in self.parts if isinstance(p, TextPart)).strip()

    @property
    def images(self) -> tuple[ImagePart, ...]:
        return tuple(p for p in self.parts if isinstance(p, ImagePart))


@dataclass(frozen=True, slots=True)
class GenParams:
    """How to generate. Ranges are checked by `tasks`, at the edge where a person typed them."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0


Precision = Literal["auto", "nf4", "bf16", "fp16", "fp32"]
Splitting = Literal["auto", "on", "off"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Which model, in which precision, with which adapter (None: the base model)."""

    model_id: str = "idefics2-nano"
    precision: Precision = "auto"
    adapter: str | None = None
    adapter_scale: float = 1.0
    """0..1.5; 0 equals the base model bit for bit."""
    splitting: Splitting = "auto"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to an engine."""

    turns: tuple[Turn, ...]
    variant: Variant = Variant()
    params: GenParams = GenParams()
    conversation_id: str | None = None
    """Key of the prefix cache; None: no reuse."""
