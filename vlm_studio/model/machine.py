"""What a machine is, and how Idefics2-8B is best loaded on it: the choice as a pure function, with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import psutil
import torch

from vlm_studio.core.conversation import Precision
from vlm_studio.core.errors import ModelUnavailable
from vlm_studio.model.memory import GIB, free_bytes, size, weight_bytes

DeviceKind = Literal["cuda", "mps", "cpu"]

WORKING_BYTES = int(1.2 * GIB)
"""Beside the weights: keys and values of a conversation, one page in the vision tower, the runtime's own."""
OLDEST_CARD = (6, 0)
"""Compute capability (Pascal) from which bitsandbytes has 4-bit kernels."""
USE_NANO = "idefics2-nano goes on working meanwhile."


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of weights of a model's parts."""

    vision: int
    connector: int
    language: int
    """Layers of the language model, all linear."""
    embeddings: int
    head: int

    @property
    def total(self) -> int:
        return self.vision + self.connector + self.language + self.embeddings + self.head


@dataclass(frozen=True, slots=True)
class Machine:
    """The device that would run a model."""

    kind: DeviceKind
    name: str
    free_bytes: int
    """On the device, now."""
    ram_bytes: int
    """Free main memory, now."""
    capability: tuple[int, int] = (0, 0)
    """CUDA compute capability."""
    bf16: bool = True
    """Whether the device computes in bfloat16 itself."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How a model is brought into memory, and why so."""

    precision: Precision
    compute: Literal["bf16", "fp16", "fp32"]
    device: DeviceKind
    quantized_connector: bool
    vision_on_cpu: bool
    need_bytes: int
    """Of weights, on the device."""
    why: str

    @property
    def skip(self) -> list[str]:
        """Modules that stay out of 4 bits, as patterns that match from the beginning of a full name.

        A pattern list replaces the default one, so `lm_head` must be in it. The vision tower's sizes (4304) are no
        multiples of 64, which bitsandbytes' processor kernels get wrong in silence; it is 5 % of the weights.
        """
        return ["lm_head", "model.vision_model"] + ([] if self.quantized_connector else ["model.connector"])


def this_machine() -> Machine:
    """The best device here."""
    ram = int(psutil.virtual_memory().available)
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
        card = torch.cuda.get_device_properties(device)
        return Machine(
            "cuda",
            card.name,
            free_bytes(device),
            ram,
            (card.major, card.minor),
            torch.cuda.is_bf16_supported(including_emulation=False),
        )
    if torch.backends.mps.is_available():
        return Machine("mps", "Apple GPU", free_bytes(torch.device("mps")), ram)
    return Machine("cpu", "processor", ram, ram)


def choose(machine: Machine, parts: Parameters, wanted: Precision = "auto") -> LoadPlan:
    """The plan for `machine`. Raises ModelUnavailable where it cannot run the model, saying what it would need."""
    if machine.kind == "cuda" and machine.capability < OLDEST_CARD:
        raise ModelUnavailable(
            f"{machine.name} is too old for 4-bit weights (compute capability "
            f"{machine.capability[0]}.{machine.capability[1]}, 6.0 is needed).",
            USE_NANO,
        )
    plans = _plans(machine, parts, wanted)
    for plan in plans:
        if plan.need_bytes + WORKING_BYTES <= machine.free_bytes:
            return plan
    least = min(plans, key=lambda plan: plan.need_bytes)
    raise ModelUnavailable(
        f"The model needs {size(least.need_bytes + WORKING_BYTES)} on {machine.name}, "
        f"where {size(machine.free_bytes)} are free.",
        f"Close what else uses that memory. {USE_NANO}",
    )


def _plans(machine: Machine, parts: Parameters, wanted: Precision) -> list[LoadPlan]:
    """What could be tried, the best first."""
    compute: Literal["bf16", "fp16"] = "bf16" if machine.bf16 else "fp16"
    full: Literal["bf16", "fp16"] = compute
    if machine.kind == "mps":
        if wanted == "nf4":
            raise ModelUnavailable("Apple GPUs have no 4-bit kernels.", "Set the precision to auto or bf16.")
        return [
            _plain(machine, parts, full if wanted == "auto" else wanted, "Apple GPUs have no 4-bit kernels.")
        ]
    if wanted not in ("auto", "nf4"):
        return [_plain(machine, parts, wanted, "As set.")]
    four = _four_bit(machine, parts, compute, "As set." if wanted == "nf4" else _why_four(machine))
    if wanted == "auto" and machine.kind == "cuda" and machine.capability >= (9, 0):
        # Measured by others on an H100: bfloat16 41 tokens/s, NF4 30 (FACTS: 4 bits have no tensor-core path).
        why = f"{machine.name} is faster in {full} than in 4 bits, and has the memory."
        return [_plain(machine, parts, full, why), *four]
    return four


def _why_four(machine: Machine) -> str:
    if machine.kind == "cpu":
        return "4 bits, a third of the memory; a processor takes seconds for each word."
    return f"4 bits on {machine.name}: a third of the memory, and what limits a single answer is reading weights."


def _plain(machine: Machine, parts: Parameters, precision: Precision, why: str) -> LoadPlan:
    compute: Literal["bf16", "fp16", "fp32"] = "bf16"
    if precision in ("fp16", "fp32"):
        compute = precision
    need = weight_bytes(parts.total, 0, precision)
    return LoadPlan(precision, compute, machine.kind, False, False, need, why)


def _four_bit(
    machine: Machine, parts: Parameters, compute: Literal["bf16", "fp16"], why: str
) -> list[LoadPlan]:
    """NF4 of the language model; where that does not fit, of the connector too; then with the tower in main memory."""
    plans = []
    for connector, tower_out in ((False, False), (True, False), (True, True)):
        if tower_out and machine.kind == "cpu":
            continue
        quantized = parts.language + (parts.connector if connector else 0)
        total = parts.total - (parts.vision if tower_out else 0)
        told = why
        if connector:
            told += " The connector is in 4 bits too, to fit."
        if tower_out:
            told += " The vision tower waits in main memory and is sent over for each image."
        need = weight_bytes(total, quantized, "nf4")
        plans.append(LoadPlan("nf4", compute, machine.kind, connector, tower_out, need, told))
    return plans
