"""Number formats of the networks during training. Evaluation and attacks always compute in float32.

    float32     every product in full precision
    tf32        a GPU may round factors to TF32 (10 of 23 mantissa bits); the same as float32 on a CPU
    bfloat16    networks compute in bfloat16: half the memory, and faster products where the hardware has them

Weights, gradients, losses and optimizers stay in float32 (torch's automatic mixed precision).
"""

from typing import Any

import torch
from torch import nn

from mia_core.defenses import Arm


def refusal(precision: str, arm: Arm) -> str | None:
    """Why an arm cannot be trained in this precision, or None."""
    if precision != "float32" and arm.poisson:
        return (
            f"dp_sgd needs training.precision float32: its bound on a record's influence is not shown for {precision}"
        )
    return None


def computing(network: nn.Module, precision: str) -> nn.Module:
    """The network that a step calls: `network` itself, or a wrapper that computes in bfloat16."""
    return _Lowered(network) if precision == "bfloat16" else network


class _Lowered(nn.Module):
    """A network that computes in bfloat16 and returns float32: losses are small differences of large numbers."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor, *more: torch.Tensor) -> Any:
        with torch.autocast(x.device.type, torch.bfloat16):
            found = self.network(x, *more)
        return tuple(part.float() for part in found) if isinstance(found, tuple) else found.float()
