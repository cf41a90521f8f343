"""Sums of clipped gradients of privacy units by book-keeping (Bu et al. 2022, 2023; arXiv 2206.07136, 2210.00038).

A tape records each layer's input and the gradient of its output. From these come bounds of the norms of the units'
gradients, and then, in one call per layer, the sum of all rows' gradients weighted by their clip factors. No row's
gradient is kept, and for large layers none is ever formed.

The bound holds for the sum as computed: a unit's part of it has norm at most `clip`, including the rounding of its
norm, its factor and its part (see `norms`). In addition, a sum of n parts is rounded as any sum is.
"""

from collections.abc import Mapping

import torch
from torch import nn

from mia_core.defenses.norms import norm_bounds
from mia_core.defenses.tape import Tape
from mia_core.defenses.units import Units
from mia_core.targets import RecordLosses
from mia_core.tf32 import tf32

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.GroupNorm)
"""Modules whose parameters are supported, with or without weight norm."""


def clipped_sums(
    networks: Mapping[str, nn.Module],
    losses: RecordLosses,
    records: tuple[torch.Tensor, ...],
    clip: float,
    units: torch.Tensor | None = None,
) -> tuple[dict[str, list[torch.Tensor]], dict[str, torch.Tensor]]:
    """Sums over units of their gradients, each clipped to norm `clip`, and the losses [B] of rows; both by network.

    units: int64 [B], the privacy unit of each row, best on the CPU (it is read there); -1 marks a padding row, which
    contributes nothing; None makes each row a unit. A unit's gradient is the mean of its rows' gradients, clipped as a
    whole. A sum has one tensor per trainable parameter, in order. A unit's norm is over all parameters of all networks
    that learn from it, so that removing one unit changes all sums together by at most `clip`. A unit contributes
    nothing if its gradient is not finite or its squared norm overflows. B may be 0. ValueError for an unsupported use
    of a parameter, for a layer whose input does not have one row per record, and for a layer that computes in less than
    float32.
    """
    owned = {name: [p for p in network.parameters() if p.requires_grad] for name, network in networks.items()}
    count = len(records[0])
    grouped = Units.of(units, count, records[0].device)
    if not count:
        with torch.no_grad():
            none = losses(networks, *records)
        return {name: [torch.zeros_like(p) for p in owned[name]] for name in none if name in networks}, none
    tape, values = record(networks, losses, records)
    sums: dict[int, torch.Tensor] = {}
    if grouped:
        with torch.no_grad(), tf32(False):
            norms = norm_bounds(tape, grouped)
            factors = torch.where(norms.isfinite(), (clip / norms).clamp_max(1.0), 0.0)
            sums = tape.weighted_sums(grouped.row_factors(factors))
    found = {
        name: [sums[id(p)] if id(p) in sums else torch.zeros_like(p) for p in owned[name]]
        for name in values
        if name in networks
    }
    return found, values


def record(
    networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...]
) -> tuple[Tape, dict[str, torch.Tensor]]:
    """A tape of each network's own loss over all rows, and the losses [B] by network."""
    owned = {name: [p for p in network.parameters() if p.requires_grad] for name, network in networks.items()}
    tape = Tape([p for parameters in owned.values() for p in parameters], len(records[0]))
    with tape:
        values = losses(networks, *records)
    learning = [name for name in values if name in networks]
    for name in learning:
        with tape.recording(owned[name]):
            keep = name != learning[-1]
            past = torch.autograd.grad(values[name].sum(), owned[name], retain_graph=keep, allow_unused=True)
        if any(gradient is not None for gradient in past):
            raise ValueError(f"clipping: the {name} uses a parameter in a way whose gradient is not known")
    return tape, {name: value.detach() for name, value in values.items()}
