"""Take the tower's weights out of the recogniser that `rapidocr` ships as ONNX (Apache-2.0). Needs the package `onnx`.

The file holds its weights in the order in which the graph uses them, which is the order in which `LineTower` runs, so the
conversion is a walk: every convolution, normalisation and matrix product in turn goes to the next module. `convert` is
checked by shape here and by value in tests/model/test_tower.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from vlm_studio.model.tower import CharacterHead, LineTower, Squeeze

FEATURE_TENSOR = "p2o.pd_op.transpose.8.0"


def modules_in_graph_order(tower: LineTower) -> Iterator[nn.Conv2d | nn.Linear | nn.LayerNorm]:
    """Every weighted module of the tower, in the order in which the ONNX graph uses its weights."""
    stem, neck = tower.stem, tower.neck
    yield from (stem.edges, stem.narrow, stem.widen, stem.merge, stem.out)
    for block in tower.blocks:
        yield block.space  # type: ignore[misc]
        if isinstance(block.squeeze, Squeeze):
            yield from (block.squeeze.down, block.squeeze.up)
        yield from (block.expand, block.compress)  # type: ignore[misc]
    yield from (neck.skip, neck.reduce, neck.local)
    for layer in neck.layers:
        yield from (layer.norm1, layer.qkv, layer.proj, layer.norm2, layer.up, layer.down)  # type: ignore[misc]
    yield neck.norm


def _fold_norm(weight: Tensor, norm: list[Tensor], epsilon: float) -> tuple[Tensor, Tensor]:
    """Weight (out, in, h, w) and bias (out,) of a bias-free convolution with the batch normalisation behind it."""
    scale, shift, mean, variance = norm
    gain = scale / torch.sqrt(variance + epsilon)
    return weight * gain[:, None, None, None], shift - mean * gain


def _weights_in_graph_order(graph: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """(weight, bias) of each weighted operation of the ONNX graph, laid out as torch wants them."""
    values = {i.name: torch.from_numpy(np.array(numpy_helper.to_array(i))) for i in graph.initializer}
    pending: tuple[Tensor, str] | None = None  # weight waiting for its bias, and the operation it came from
    for node in graph.node:
        constants = [values[name] for name in node.input if name in values]
        if node.op_type == "Conv":
            pending = (constants[0], "Conv")
        elif node.op_type == "MatMul" and constants:
            pending = (constants[0].T.contiguous(), "MatMul")
        elif node.op_type == "BatchNormalization" and pending:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            yield _fold_norm(pending[0], constants, epsilon)
            pending = None
        elif node.op_type == "Mul" and constants and constants[0].numel() == 120:
            pending = (constants[0].flatten(), "LayerNorm")
        elif node.op_type == "Add" and pending and constants and constants[0].numel() == pending[0].shape[0]:
            yield pending[0], constants[0].flatten()
            pending = None


def convert(onnx_file: Path, letters: str) -> tuple[LineTower, CharacterHead]:
    """Tower, and a head whose rows are the shipped classifier's own rows for the blank and for `letters`.

    Raises ValueError where the file's graph is not the one this module knows. A letter that the classifier lacks starts from
    a row that loses to every other one.
    """
    model = onnx.load(str(onnx_file))
    tower = LineTower().eval()
    weights = _weights_in_graph_order(model.graph)
    with torch.no_grad():
        for module in modules_in_graph_order(tower):
            weight, bias = next(weights)
            if weight.shape != module.weight.shape or module.bias is None:
                raise ValueError(f"unexpected graph: {tuple(weight.shape)} for {module}")
            module.weight.copy_(weight)
            module.bias.copy_(bias)
        head = CharacterHead(len(letters))
        rows, offsets = next(weights)
        known = classifier_characters(model)
        for column, letter in enumerate(["", *letters]):
            source = 0 if not letter else known.get(letter)
            head.weight[column] = 0.0 if source is None else rows[source]
            head.bias[column] = offsets.min() if source is None else offsets[source]
    return tower, head


def classifier_characters(model: Any) -> dict[str, int]:
    """Character -> column of the shipped classifier: blank first, then its list, then the space."""
    text = next(p.value for p in model.metadata_props if p.key == "character")
    characters = [*text.split("\n"), " "]
    return {character: column for column, character in reversed(list(enumerate(characters, start=1)))}
