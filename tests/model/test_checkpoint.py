"""A training that was stopped goes on exactly as it would have."""

from __future__ import annotations

from pathlib import Path

import torch

from vlm_studio.model.checkpoint import Reached, read_checkpoint, write_checkpoint


def trained(steps: int, file: Path) -> torch.Tensor:
    """Weights after the steps that are left of `steps`; kept in `file`."""
    torch.manual_seed(3)
    layer = torch.nn.Linear(4, 2)
    learned = list(layer.parameters())
    optimiser = torch.optim.AdamW(learned, lr=0.1)
    reached = read_checkpoint(file, learned, optimiser)
    for step in range(reached.step, steps):
        inputs = torch.randn(3, 4, generator=torch.Generator().manual_seed(step))
        layer(inputs).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()
    write_checkpoint(file, Reached(steps, reached.seconds + 1.5), learned, optimiser)
    return layer.weight.detach()


def test_stopped_and_resumed_equals_never_stopped(tmp_path: Path) -> None:
    whole = trained(6, tmp_path / "whole.state")
    trained(2, tmp_path / "parts.state")
    assert torch.equal(trained(6, tmp_path / "parts.state"), whole)
    assert not list(tmp_path.glob("*.new"))


def test_step_and_seconds_are_kept(tmp_path: Path) -> None:
    trained(2, tmp_path / "a.state")
    layer = torch.nn.Linear(4, 2)
    learned = list(layer.parameters())
    optimiser = torch.optim.AdamW(learned)
    assert read_checkpoint(tmp_path / "a.state", learned, optimiser) == Reached(2, 1.5)
    assert read_checkpoint(tmp_path / "none.state", learned, optimiser) == Reached()
