"""Clipped sums of one network by plain autograd, a record at a time."""

import torch
from torch.nn.functional import softplus

from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision
from mia_core.batches import Rows
from mia_core.defenses.clipping import clipped_sums

KEY = bytes(range(32))
CLIP_ONLY = {"name": "dp_sgd", "sigma": 0.0, "clip": 1.0, "delta": 1e-3}


def real_loss(network, x):
    return softplus(-network(x).flatten(1).sum(1))


def clipped_sum(network, loss, records, clip):
    """`clipped_sums` of a single network."""
    sums, losses = clipped_sums({"net": network}, lambda nets, x: {"net": loss(nets["net"], x)}, (records,), clip)
    return sums["net"], losses["net"]


def apply(rule, network, loss, records):
    """A rule of gradients on a single network."""
    rows = Rows(torch.arange(len(records)))
    return rule({"net": network}, lambda nets, x: {"net": loss(nets["net"], x)}, (records,), rows)["net"]


def oracle(network, loss, records, clip):
    """One record at a time, by plain autograd."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    total = [torch.zeros_like(p) for p in parameters]
    losses, norms = [], []
    for record in records:
        value = loss(network, record[None]).sum()
        gradients = torch.autograd.grad(value, parameters)
        norm = norm_of(gradients)
        for part, gradient in zip(total, gradients, strict=True):
            part += gradient * min(1.0, clip / norm) if norm > 0 else 0.0
        losses.append(float(value.detach()))
        norms.append(norm)
    return total, losses, norms


def norm_of(tensors):
    return float(torch.cat([t.flatten() for t in tensors]).norm())
