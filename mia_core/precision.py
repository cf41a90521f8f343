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


def refusal(precision: str, arm: Arm) -> str | None:
    """Why an arm does not go with a precision, or None."""
    if precision != "float32" and arm.poisson:
        return (
            f"dp_sgd needs training.precision float32: its bound on a record's influence is not shown for {precision}"
        )
    return None


def computing(network: nn.Module, precision: str) -> nn.Module:
    """A network as a step calls it: itself, or in bfloat16."""
    return _Lowered(network) if precision == "bfloat16" else network


class _Lowered(nn.Module):
    """A network in bfloat16, with float32 results: losses are small differences of large numbers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16):
            found = self.network(x)
        return tuple(part.float() for part in found) if isinstance(found, tuple) else found.float()
