"""What a training needs to go on: the trained numbers and their optimiser, in one file, with the step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vlm_studio.adapt.job import replace_file


def write_checkpoint(
    path: Path, step: int, trained: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer
) -> None:
    """Both in one file, so that the two can never be of different steps."""
    tensors: dict[str, Tensor] = {}
    for number, parameter in enumerate(trained):
        tensors[f"{number}.value"] = parameter.detach().contiguous()
        for name, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{number}.{name}"] = torch.as_tensor(value).detach().contiguous()
    replace_file(path, save(tensors, {"step": str(step)}))


def read_checkpoint(path: Path, trained: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer) -> int:
    """The step to go on from, with everything in place; 0 where there is no checkpoint that fits."""
    if not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        step = int((file.metadata() or {})["step"])
        names = list(file.keys())
        if sum(name.endswith(".value") for name in names) != len(trained):
            return 0  # of an older version, which kept other parts
        for number, parameter in enumerate(trained):
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"{number}.value"))
            parts = [name.split(".")[1] for name in names if name.startswith(f"{number}.")]
            # An optimiser's step counter stays where it was made; the rest follows its parameter.
            state = {
                part: file.get_tensor(f"{number}.{part}").to("cpu" if part == "step" else parameter.device)
                for part in parts
                if part != "value"
            }
            if state:
                optimiser.state[parameter] = state
    return step
