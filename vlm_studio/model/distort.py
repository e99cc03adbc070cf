"""What pens, paper, lamps and telephones do to a line of writing. Grey float32 arrays in [0, 1], 1 is white paper."""

from __future__ import annotations

import cv2
import numpy as np

Rng = np.random.Generator


def bend(picture: np.ndarray, rng: Rng, fill: float, strength: float = 1.0) -> np.ndarray:
    """Slant, tilt, stretch, a drifting baseline and small elastic wobbles, in one resampling. (H, W) -> (H', W')."""
    height, width = picture.shape
    pad = max(4, int(0.25 * height))
    shear = float(rng.normal(0, 0.18)) * strength
    stretch = float(np.exp(rng.normal(0, 0.14) * strength))
    tilt = float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)) * strength
    # A long line may rise by no more than about half its height, or its letters would shrink below reading size.
    tilt = float(np.clip(tilt, -0.5 * height / width, 0.5 * height / width))
    lean = abs(shear) * height
    out_h, out_w = height + 2 * pad, int(width * stretch + lean) + 2 * pad
    ys, xs = np.mgrid[0:out_h, 0:out_w].astype(np.float32)
    u, v = xs - pad, ys - pad
    wave = (
        rng.uniform(0, 0.05)
        * height
        * np.sin(u / (height * rng.uniform(3, 9)) + rng.uniform(0, 6.3))
        * strength
    )
    source_y = v + tilt * (u - width / 2) + wave
    source_x = (u - (lean if shear > 0 else 0) + shear * (source_y)) / stretch
    grid = (max(2, out_h // 16), max(2, out_w // 16))
    wobble = height * 0.02 * strength * rng.uniform(0, 1.6)
    for source in (source_x, source_y):
        noise = rng.normal(0, 1, grid).astype(np.float32)
        source += wobble * cv2.resize(noise, (out_w, out_h), interpolation=cv2.INTER_CUBIC)
    return cv2.remap(
        picture,
        source_x.astype(np.float32),
        source_y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderValue=float(fill),
    )


def thicken(ink: np.ndarray, rng: Rng) -> np.ndarray:
    """A broader or a thinner pen; `ink` is 1 where the pen was."""
    kind = rng.random()
    kernel = (
        np.ones((2, 2), np.uint8)
        if rng.random() < 0.6
        else cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    )
    if kind < 0.25:
        return cv2.dilate(ink, kernel)
    if kind < 0.42:
        # Half an erosion: a whole one breaks hairlines that a reader needs.
        return 0.5 * ink + 0.5 * cv2.erode(ink, kernel)
    return ink


def rule(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Darken `picture` along printed lines or squares."""
    height, width = picture.shape
    out = picture.copy()
    pitch = int(height * rng.uniform(0.35, 1.2)) + 2
    dark = rng.uniform(0.05, 0.35)
    for y in range(int(rng.integers(0, pitch)), height, pitch):
        out[y : y + int(rng.integers(1, 3))] *= 1 - dark
    if rng.random() < 0.4:
        for x in range(int(rng.integers(0, pitch)), width, pitch):
            out[:, x : x + 1] *= 1 - dark
    return out


def light(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Uneven light and the edge of a shadow."""
    height, width = picture.shape
    x = np.linspace(0, 1, width, dtype=np.float32)[None]
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    shade = 1 - rng.uniform(0, 0.35) * (x if rng.random() < 0.5 else 1 - x) - rng.uniform(0, 0.15) * y
    if rng.random() < 0.25:
        edge = rng.uniform(0, 1) + rng.uniform(-0.2, 0.2) * y
        shade = shade * (1 - rng.uniform(0.1, 0.45) / (1 + np.exp(-(x - edge) * rng.uniform(8, 60))))
    return picture * shade


def crop_to_ink(picture: np.ndarray, ink: np.ndarray, rng: Rng) -> np.ndarray:
    """`picture` cut around its `ink`, from tight to loose, as line finders cut."""
    rows = np.flatnonzero(ink.max(1) > 0.3)
    columns = np.flatnonzero(ink.max(0) > 0.3)
    if not len(rows) or not len(columns):
        return picture
    tall = rows[-1] - rows[0] + 1
    loose = rng.uniform(-0.03, 0.18) if rng.random() < 0.75 else rng.uniform(0.15, 0.5)
    up, down = (int(tall * max(-0.03, loose + rng.normal(0, 0.05))) for _ in range(2))
    left, right = (int(rng.uniform(-0.02, 0.5) * tall) for _ in range(2))
    top, bottom = max(0, rows[0] - up), min(picture.shape[0], rows[-1] + 1 + down)
    first, last = max(0, columns[0] - left), min(picture.shape[1], columns[-1] + 1 + right)
    return picture[top:bottom, first:last]


def photograph(picture: np.ndarray, rng: Rng) -> np.ndarray:
    """Blur, fewer pixels, noise, contrast, tint and JPEG: grey (H, W) in [0, 1] -> uint8 RGB (h, w, 3)."""
    height, width = picture.shape
    tall = float(rng.choice((30, 40, 48, 64, 80), p=(0.1, 0.2, 0.3, 0.25, 0.15)))
    factor = min(tall / height, 3.0)
    size = (max(8, int(width * factor)), max(8, int(height * factor)))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.35:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.1))
    picture = picture + rng.normal(0, rng.uniform(0, 0.04), picture.shape).astype(np.float32)
    picture = (picture - 0.5) * rng.uniform(0.6, 1.25) + 0.5 + rng.uniform(-0.12, 0.1)
    tint = 1 + rng.normal(0, 0.05, 3) if rng.random() < 0.5 else np.ones(3)
    ink = np.zeros(3)
    if rng.random() < 0.45:  # a coloured pen, blue more than others
        ink = np.array([rng.uniform(0, 0.3), rng.uniform(0, 0.35), rng.uniform(0.1, 0.6)])[
            rng.permutation(3) if rng.random() < 0.3 else [0, 1, 2]
        ]
    colour = picture[:, :, None] * tint + ink * (1 - picture[:, :, None])
    pixels = np.clip(colour * 255, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))])
        pixels = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    return pixels


def vary(pixels: np.ndarray, seed: int) -> np.ndarray:
    """A real line, uint8 (H, W), as another day's photograph might show it: uint8 RGB (h, w, 3)."""
    rng = np.random.default_rng(seed)
    picture = pixels.astype(np.float32) / 255
    if rng.random() < 0.12:
        return np.repeat(pixels[:, :, None], 3, axis=2)
    paper = float(np.median(picture))
    ink = np.clip(paper - picture, 0, 1)
    bent = thicken(bend(ink, rng, 0.0, 0.8), rng)
    sheet = np.full(bent.shape, rng.uniform(0.75, 1.0), np.float32)
    if rng.random() < 0.3:
        sheet = rule(sheet, rng)
    picture = np.clip(sheet - bent * rng.uniform(0.7, 1.5), 0, 1)
    picture = light(picture, rng) if rng.random() < 0.5 else picture
    trimmed = crop_to_ink(picture.astype(np.float32), np.clip(bent * 2, 0, 1), rng)
    return photograph(trimmed, rng)
