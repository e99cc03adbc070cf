"""The line reader as something that hands are learned on: its weights' name and hash, and readers with an adapter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image as PilImage
from PIL.Image import Image

from vlm_studio.adapt.general import general_lines
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.core.ports import Reader
from vlm_studio.model.adapter_file import check_fits, clean_config, parse_adapter
from vlm_studio.model.characters import ALPHABET
from vlm_studio.model.line_recogniser import LineRecogniser, weights_sha256
from vlm_studio.model.tower import CharacterHead, LineScorer, LineTower

MakeReader = Callable[[str, LineRecogniser, bool], Reader]
"""(name, recogniser, whether it has learned a hand) -> the reader around it, with everything that the app's own nano has."""


class NanoHand:
    """nano's tower and character head in `folder`, with the general set beside it."""

    name = "idefics2-nano reader"

    def __init__(self, folder: Path, general: Path, make: MakeReader) -> None:
        self.folder, self._general, self._make = folder, general, make

    @cached_property
    def sha256(self) -> str:
        try:
            return weights_sha256(self.folder)
        except (OSError, ValueError, KeyError) as failure:
            raise ModelUnavailable(
                "The weights of idefics2-nano are missing.", "Restore assets/nano."
            ) from failure

    def reader(
        self, adapter: tuple[Mapping[str, Any], bytes] | None, name: str = "", strength: float = 1.0
    ) -> Reader:
        """At strength 0, as without an adapter, the reader that the app has without this."""
        recogniser = LineRecogniser(self.folder, adapter, strength)
        return self._make(name or "nano", recogniser, adapter is not None and strength > 0)

    def parameters(self, config: Mapping[str, Any], weights: bytes) -> int:
        """Numbers it adds. Raises AdapterRejected where it is no plain LoRA, or none of this model."""
        adapter = parse_adapter(config, weights)
        check_fits(adapter, LineScorer(LineTower(), CharacterHead(len(ALPHABET))))
        return adapter.parameters

    def clean(self, config: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
        return clean_config(parse_adapter(config, weights), self.name)

    def general(self) -> list[tuple[Image, str]]:
        return [
            (PilImage.fromarray(line.pixels).convert("RGB"), line.text)
            for line in general_lines(self._general, "score")
        ]
