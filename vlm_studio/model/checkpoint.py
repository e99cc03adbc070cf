"""What a training needs to go on: the trained numbers and their optimiser, in one file, with how far it had come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vlm_studio.model.files import replace_file


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a training had come."""

    step: int = 0
    seconds: float = 0.0
    """Spent on it, where the training counts them."""
    of: str = ""
    """SHA-256 of the weights that it began from, where the training says so."""


def write_checkpoint(
    path: Path, reached: Reached, trained: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer
) -> None:
    """All in one file, so that weights and optimiser can never be of different steps.

    `trained`: in an order that is the same whenever the training is set up; those that no optimiser moves may be among them.
    """
    tensors: dict[str, Tensor] = {}
    told = {"step": str(reached.step), "seconds": str(reached.seconds), "of": reached.of}
    for number, parameter in enumerate(trained):
        tensors[f"{number}.value"] = parameter.detach().cpu().contiguous()
        for name, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{number}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    replace_file(path, save(tensors, told))


def read_checkpoint(
    path: Path, trained: Sequence[nn.Parameter], optimiser: torch.optim.Optimizer, of: str = ""
) -> Reached:
    """Where to go on from, with everything in place; what was reached is nothing where no checkpoint fits.

    One that began `of` other weights does not: what it learned is of no use to these.
    """
    nothing = Reached(of=of)
    if not path.exists():
        return nothing
    with safe_open(path, "pt") as file:
        told = file.metadata() or {}
        names = list(file.keys())
        if sum(name.endswith(".value") for name in names) != len(trained) or told.get("of", "") != of:
            return nothing  # an older version kept other parts, or began from other weights
        for number, parameter in enumerate(trained):
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"{number}.value"))
            parts = [name.split(".")[1] for name in names if name.startswith(f"{number}.")]
            # AdamW counts its steps on the processor; the rest of its state follows the parameter.
            state = {
                part: file.get_tensor(f"{number}.{part}").to("cpu" if part == "step" else parameter.device)
                for part in parts
                if part != "value"
            }
            if state:
                optimiser.state[parameter] = state
    return Reached(int(told["step"]), float(told.get("seconds", 0)), of)
