"""What networks compute in while they train. What a trained target is measured and attacked by is float32 throughout.

    float32     every product in full
    tf32        a GPU may take products in TF32, with 10 of 23 bits; on a CPU the same as float32
    bfloat16    networks compute in bfloat16: half of the bytes, and on machines that have it faster products

Weights, their gradients, losses and optimizers stay in float32 (torch's automatic mixed precision).
"""

from typing import Any

import torch
from torch import nn

from mia_core.defenses import Arm
from mia_core.targets import Target


def refusal(precision: str, arm: Arm) -> str | None:
    """Why an arm does not go with a precision, or None."""
    if precision != "float32" and arm.poisson:
        return (
            f"dp_sgd needs training.precision float32: its bound on a record's influence is not shown for {precision}"
        )
    return None


def lower(target: Target) -> None:
    """Let a target's networks compute in bfloat16 in training mode, in place."""
    for network in target.children():
        network.forward = _Lowered(network, network.forward)


class _Lowered:
    """A network's `forward` in bfloat16, with float32 results: losses are small differences of large numbers."""

    def __init__(self, network: nn.Module, forward: Any) -> None:
        self.network = network
        self.forward = forward

    def __call__(self, x: torch.Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.network.training):
            found = self.forward(x)
        return tuple(part.float() for part in found) if isinstance(found, tuple) else found.float()
