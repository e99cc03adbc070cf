"""The line tower of idefics2-nano: the PP-OCRv6 small recogniser without its 18,710-way classifier.

Architecture after PaddleOCR's PPLCNetV4 (small) and its light SVTR neck, Apache-2.0, written for this project with every
batch normalisation already folded into the convolution before it, so that what is trained is exactly what is shipped.
It knows tensors only: how a picture becomes one is `vlm_studio.model.characters.prepare_strip`'s business.

Shapes: (N, 3, 48, W) pixels -> (N, T, 120) features, one frame for every `FRAME_PIXELS` = 8 px of strip width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIP_HEIGHT = 48
FRAME_PIXELS = 8
FEATURE_SIZE = 120

# (channels in, channels out, vertical stride, squeeze-and-excitation) of each block, in order.
BLOCKS: tuple[tuple[int, int, int, bool], ...] = (
    (96, 96, 1, True),
    (96, 96, 1, False),
    (96, 96, 1, False),
    (96, 192, 2, False),
    (192, 192, 1, True),
    (192, 192, 1, False),
    (192, 192, 1, True),
    (192, 192, 1, False),
    (192, 192, 1, True),
    (192, 192, 1, False),
    (192, 384, 2, False),
    (384, 384, 1, True),
    (384, 384, 1, False),
)


def _pad_right_bottom(pixels: Tensor) -> Tensor:
    """Add the one row and column that a 2x2 window needs to keep (N, C, H, W); Paddle puts both at the end."""
    return F.pad(pixels, (0, 1, 0, 1))


class Real:
    """Which columns of a right-padded batch are real, at every width that the tower works in.

    Convolutions have biases, so padding would not stay empty by itself: each layer's output is emptied
    beyond its strip, so that a strip gets the same features alone and in any batch.
    """

    def __init__(self, frames: Tensor | None, total: int) -> None:
        self.frames = frames
        self.total = total

    def mask(self, columns: int, of: Tensor) -> Tensor | None:
        """(N, 1, 1, columns) of ones and zeros in the type of `of`; None where nothing is padded."""
        if self.frames is None:
            return None
        each = columns // self.total  # 8 in pixels, 4 and 2 in the stem and blocks, 1 in the neck
        places = torch.arange(columns, device=of.device)
        return (places < self.frames[:, None] * each)[:, None, None, :].to(of.dtype)

    def keep(self, x: Tensor) -> Tensor:
        mask = self.mask(x.shape[-1], x)
        return x if mask is None else x * mask


class Stem(nn.Module):
    """(N, 3, 48, W) -> (N, 96, 12, W/4): a pooled and a convolved view of the first edges, merged."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = nn.Conv2d(3, 48, 3, 2, 1)
        self.narrow = nn.Conv2d(48, 24, 2)
        self.widen = nn.Conv2d(24, 48, 2)
        self.merge = nn.Conv2d(96, 48, 3, 2, 1)
        self.out = nn.Conv2d(48, 96, 1)

    def forward(self, pixels: Tensor, real: Real) -> Tensor:
        edges = real.keep(F.relu(self.edges(pixels)))
        convolved = real.keep(F.relu(self.narrow(_pad_right_bottom(edges))))
        convolved = F.relu(self.widen(_pad_right_bottom(convolved)))
        pooled = F.max_pool2d(_pad_right_bottom(edges), 2, 1)
        merged = F.relu(self.merge(real.keep(torch.cat([pooled, convolved], 1))))
        return real.keep(F.relu(self.out(merged)))


class Squeeze(nn.Module):
    """Scale each channel of (N, C, H, W) by a gate computed from its mean over the strip, padding left out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, channels // 4, 1)
        self.up = nn.Conv2d(channels // 4, channels, 1)

    def forward(self, x: Tensor, real: Real) -> Tensor:
        mask = real.mask(x.shape[-1], x)
        if mask is None:
            mean = x.mean((2, 3), keepdim=True)
        else:
            mean = (x * mask).sum((2, 3), keepdim=True) / (mask.sum(3, keepdim=True) * x.shape[2])
        return x * F.hardsigmoid(self.up(F.relu(self.down(mean))))


class Block(nn.Module):
    """A depthwise 3x3 over space, then a two-layer mixer over channels, with a residual where the shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels_in, channels_in, 3, (stride, 1), 1, groups=channels_in)
        self.squeeze = Squeeze(channels_in) if squeeze else None
        self.expand = nn.Conv2d(channels_in, 2 * channels_in, 1)
        self.compress = nn.Conv2d(2 * channels_in, channels_out, 1)
        self.residual = channels_in == channels_out and stride == 1

    def forward(self, x: Tensor, real: Real) -> Tensor:
        x = self.space(x)
        if self.squeeze is not None:
            x = self.squeeze(x, real)
        mixed: Tensor = self.compress(F.gelu(self.expand(x)))
        return real.keep(x + mixed if self.residual else mixed)


class FrameAttention(nn.Module):
    """A pre-norm transformer layer over the frames, (N, T, 120) -> same, 8 heads, no position code of its own."""

    def __init__(self, size: int = FEATURE_SIZE, heads: int = 8) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(size, eps=1e-5)
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)
        self.norm2 = nn.LayerNorm(size, eps=1e-5)
        self.up = nn.Linear(size, 2 * size)
        self.down = nn.Linear(2 * size, size)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """`keep` (N, 1, 1, T), bool: frames that may be attended to; None means all."""
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        x = x + self.proj(mixed.transpose(1, 2).reshape(n, t, d))
        grown: Tensor = self.down(F.silu(self.up(self.norm2(x))))
        return x + grown


class Neck(nn.Module):
    """(N, 384, 1, T) -> (N, T, 120): a local convolution and two attention layers beside a plain skip path."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(384, FEATURE_SIZE, 1)
        self.reduce = nn.Conv2d(384, FEATURE_SIZE, 1)
        self.local = nn.Conv2d(FEATURE_SIZE, FEATURE_SIZE, (1, 7), padding=(0, 3), groups=FEATURE_SIZE)
        self.layers = nn.ModuleList([FrameAttention(), FrameAttention()])
        self.norm = nn.LayerNorm(FEATURE_SIZE, eps=1e-6)

    def forward(self, x: Tensor, real: Real) -> Tensor:
        skip = F.silu(self.skip(x))
        z = real.keep(F.silu(self.reduce(x)))
        z = (z + F.silu(self.local(z))).squeeze(2).transpose(1, 2)
        mask = real.mask(x.shape[-1], x)
        keep = None if mask is None else mask.bool()
        for layer in self.layers:
            z = layer(z, keep)
        mixed: Tensor = self.norm(z) + skip.squeeze(2).transpose(1, 2)
        return mixed


class LineTower(nn.Module):
    """Reads a strip 48 px high into one 120-dim feature for each 8 px of its width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem()
        self.blocks = nn.ModuleList([Block(*shape) for shape in BLOCKS])
        self.neck = Neck()

    def forward(self, pixels: Tensor, frames: Tensor | None = None) -> Tensor:
        """Features (N, T, 120) of `pixels` (N, 3, 48, W) in [-1, 1], right-padded with 0 where strips differ in width.

        `frames` (N,) counts each strip's own frames: what lies beyond changes nothing. None takes every column for real,
        as the shipped ONNX graph does. W is a multiple of 8.
        """
        return self.late(self.early(pixels, frames), frames)

    def early(self, pixels: Tensor, frames: Tensor | None = None, blocks: int = len(BLOCKS)) -> Tensor:
        """What the stem and the first `blocks` blocks make of `pixels`: (N, channels, rows, W / 4)."""
        real = Real(frames, pixels.shape[-1] // FRAME_PIXELS)
        x = self.stem(real.keep(pixels), real)
        for block in self.blocks[:blocks]:
            x = block(x, real)
        return x

    def late(self, x: Tensor, frames: Tensor | None = None, blocks: int = len(BLOCKS)) -> Tensor:
        """Features (N, T, 120) from what `early` made with the same number of `blocks`."""
        real = Real(frames, x.shape[-1] * 4 // FRAME_PIXELS)
        for block in self.blocks[blocks:]:
            x = block(x, real)
        features: Tensor = self.neck(F.avg_pool2d(x, (3, 2)), real)
        return features


class CharacterHead(nn.Linear):
    """(N, T, 120) -> (N, T, letters + 1) scores before softmax; column 0 is the CTC blank."""

    def __init__(self, letters: int) -> None:
        super().__init__(FEATURE_SIZE, letters + 1)


class LineScorer(nn.Module):
    """Tower and head as one module, so that one state dict, and one adapter, holds both."""

    def __init__(self, tower: LineTower, head: CharacterHead) -> None:
        super().__init__()
        self.tower, self.head = tower, head

    def forward(self, pixels: Tensor, frames: Tensor) -> Tensor:
        """Natural log-probabilities (N, T, 1 + alphabet)."""
        scores: Tensor = self.head(self.tower(pixels, frames))
        return scores.log_softmax(-1)
