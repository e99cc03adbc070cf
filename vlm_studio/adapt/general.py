"""The general set: lines of other hands, shipped with the app. Some are learned beside a person's own, against
forgetting; the others are only read, to see what was forgotten.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from vlm_studio.core.errors import ModelUnavailable

Use = Literal["mix", "score"]


@dataclass(frozen=True, slots=True)
class GeneralLine:
    pixels: np.ndarray
    """uint8 (H, W), grey."""
    text: str


def general_lines(path: Path, use: Use) -> list[GeneralLine]:
    """The lines of one use, in their order. Raises ModelUnavailable where the file is missing or damaged."""
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            rows = archive.read("labels.tsv").decode().splitlines()[1:]
            for row in rows:
                name, its_use, text = row.split("\t")[:3]
                if its_use == use:
                    image = Image.open(io.BytesIO(archive.read(name)))
                    found.append(GeneralLine(np.asarray(image.convert("L")), text))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as failure:
        raise ModelUnavailable(
            "The general set of lines is missing or damaged.", "Restore the folder assets/general."
        ) from failure
    return found
