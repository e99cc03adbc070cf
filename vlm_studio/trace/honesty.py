"""Whether to believe a heat map: take away what it points at, and see whether the model minds.

Deletion and insertion as in RISE (Petsiuk et al., 2018), always beside random and centre areas of the same size: SaCo (Wu et
al., CVPR 2024) shows that without them such scores cannot tell a good method from chance. Arrays in, arrays out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm_studio.core.documents import Box
from vlm_studio.core.traces import Area, Honesty, MaskedDrop, WordSource
from vlm_studio.trace.maps import centre_map, random_map

SHARE = 0.2
"""Of the fed pixels that one mask hides."""
RANDOM_MASKS = 3
NOTICEABLE = 0.1
"""Natural log-probability a token; a drop below this is none."""
READ_RATIO, GUESSED_RATIO = 0.5, 0.8
"""A word whose probability without the image is below, or above, this share of the one with it."""
BLOCK = 6
"""Side of the blocks of a random mask, cells."""


def area_mask(values: np.ndarray, fed: np.ndarray, area: Area, share: float, seed: int = 0) -> np.ndarray:
    """Bool mask over the cells of a map: `share` of the fed cells, chosen as `area` says.

    `values` and `fed` are [rows, cols]; masks of one share have exactly the same size, whatever the area.
    """
    noise = np.random.default_rng(seed).random(values.shape)
    if area == "blank":
        return fed.copy()
    if area == "hot":
        order = values
    elif area == "cold":
        order = -values
    elif area == "random":
        blocks = (max(1, values.shape[0] // BLOCK), max(1, values.shape[1] // BLOCK))
        order = random_map((values.shape[0], values.shape[1]), blocks, seed)
    else:
        order = _centre_of(fed)
    return _first(order, noise, fed, share)


def _first(order: np.ndarray, noise: np.ndarray, fed: np.ndarray, share: float) -> np.ndarray:
    """The `share` of the fed cells that `order` puts first; equal ones as `noise` has it, not by place."""
    places = np.flatnonzero(fed)
    count = min(len(places), max(1, round(len(places) * share)))
    ranked = np.lexsort((noise.flat[places], -order.flat[places]))
    mask = np.zeros(fed.size, dtype=bool)
    mask[places[ranked[:count]]] = True
    return mask.reshape(fed.shape)


def _centre_of(fed: np.ndarray) -> np.ndarray:
    """A bell over the middle of what was fed, [rows, cols]."""
    bell = np.zeros(fed.shape)
    rows, cols = np.flatnonzero(fed.any(1)), np.flatnonzero(fed.any(0))
    if len(rows):
        inner = (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1))
        bell[inner] = centre_map((rows[-1] + 1 - rows[0], cols[-1] + 1 - cols[0]))
    return bell


def fed_cells(boxes: Sequence[Box], image_hw: tuple[int, int], cells: tuple[int, int]) -> np.ndarray:
    """[rows, cols] bool: the cells of a map whose middle lies in one of the boxes (image pixels)."""
    rows = (np.arange(cells[0]) + 0.5) * image_hw[0] / cells[0]
    cols = (np.arange(cells[1]) + 0.5) * image_hw[1] / cells[1]
    fed = np.zeros(cells, dtype=bool)
    for box in boxes:
        fed |= np.outer((rows >= box.top) & (rows < box.bottom), (cols >= box.left) & (cols < box.right))
    return fed


def hidden(pixels: np.ndarray, mask: np.ndarray, box: Box, image_hw: tuple[int, int]) -> np.ndarray:
    """`pixels` [h, w, 3] uint8, the part `box` of an image, with the masked cells of that image painted over as paper."""
    rows = box.top + (np.arange(pixels.shape[0]) + 0.5) * box.height / pixels.shape[0]
    cols = box.left + (np.arange(pixels.shape[1]) + 0.5) * box.width / pixels.shape[1]
    down = np.clip((rows * mask.shape[0] / image_hw[0]).astype(int), 0, mask.shape[0] - 1)
    across = np.clip((cols * mask.shape[1] / image_hw[1]).astype(int), 0, mask.shape[1] - 1)
    painted = pixels.copy()
    painted[mask[np.ix_(down, across)]] = paper(pixels)
    return painted


def paper(pixels: np.ndarray) -> np.ndarray:
    """The colour of the ground: the median of each channel, [3] uint8."""
    return np.asarray(np.median(pixels.reshape(-1, pixels.shape[-1]), axis=0)).astype(np.uint8)


def curve_area(ratios: Sequence[float]) -> float:
    """Mean height of a curve of probability ratios at even steps, each capped at 1: 0..1."""
    capped = np.clip(np.asarray(ratios, dtype=np.float64), 0.0, 1.0)
    return float((capped[:-1] + capped[1:]).mean() / 2) if len(capped) > 1 else float(capped.mean())


def judged(
    drops: Sequence[MaskedDrop], deletion: float | None = None, insertion: float | None = None
) -> Honesty:
    """Drops of hot, cold, random, centre and blank areas with the verdict that follows from them."""
    bare = Honesty(tuple(drops), False, "")
    hot = bare.drop_of("hot")
    chance = max((d.drop for d in drops if d.area == "random"), default=0.0)
    better = hot > NOTICEABLE and hot > chance and hot > bare.drop_of("cold")
    if bare.drop_of("blank") < NOTICEABLE and not better:
        verdict = "This word hardly needs the picture: it is as likely with a blank one. No map can say where it came from."
    elif better and hot > bare.drop_of("centre"):
        verdict = "Believe it: hiding the hot area costs this word more than hiding any other area of the same size."
    elif better:
        verdict = "Half a reason to believe it: hiding the hot area costs more than chance, but no more than the middle."
    else:
        verdict = "Do not believe it: hiding a random area of the same size costs this word as much."
    return Honesty(tuple(drops), better, verdict, deletion, insertion)


def word_source(text: str, first: int, last: int, with_image: float, without: float) -> WordSource:
    """Whether a word was read or guessed, from its probabilities (0..1) with the image and with a blank one."""
    ratio = without / max(with_image, 1e-12)
    source = "read" if ratio < READ_RATIO else "guessed" if ratio > GUESSED_RATIO else "mixed"
    return WordSource(text, first, last, with_image, without, source)  # type: ignore[arg-type]
