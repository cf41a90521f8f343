"""DP-SGD (Abadi et al. 2016; arXiv 1607.00133): clip each real record's gradient, add noise, sample by Poisson.

Only real records are private; gradients of generated records are added untouched (they are a function of weights that
are private already). epsilon(delta) is opacus's PRV accountant's, under add/remove-one neighbors, and covers the
trained networks; it covers neither released training curves nor a choice of the epoch made by looking at them.
The noise comes from a seeded stream, so that a trial can be repeated: whoever releases a model keeps the seed secret.
"""

import math
import warnings
from functools import lru_cache
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import nn
from torch.func import functional_call, grad, vmap

from mia_core.defenses.base import DEFENSES, Defense
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import RecordLoss, Step, Target


def clipped_sum(
    network: nn.Module, loss: RecordLoss, records: torch.Tensor, clip: float
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Sum over records of their gradients, each scaled to norm at most `clip`, and the losses [B].

    The sum has one tensor per trainable parameter, in order; the norm is over all of them together. B may be 0.
    """
    parameters = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    if not len(records):
        return [torch.zeros_like(p) for p in parameters.values()], records.new_zeros(0)

    def record_loss(weights: dict[str, torch.Tensor], record: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value = loss(lambda x: functional_call(network, weights, (x,)), record[None]).sum()
        return value, value.detach()

    per_record = vmap(grad(record_loss, has_aux=True), in_dims=(None, 0), randomness="different")
    gradients, losses = per_record(parameters, records)
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
    weights = (clip / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1.0)
    return [torch.einsum("b,b...->...", weights, g) for g in gradients.values()], losses


@lru_cache(maxsize=4096)
def epsilon(sigma: float, sampling_rate: float, steps: int, delta: float) -> float | None:
    """epsilon(delta) after `steps` Poisson-sampled Gaussian steps; None without noise (no guarantee)."""
    if sigma == 0:
        return None
    if steps == 0:
        return 0.0
    from opacus.accountants import PRVAccountant

    from mia_core import vision  # noqa: F401  opacus reaches torchvision, which may need help

    accountant = PRVAccountant()
    accountant.history = [(sigma, sampling_rate, steps)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(accountant.get_epsilon(delta))
    return value if math.isfinite(value) else None


@DEFENSES.register
class DPSGD(Defense):
    """Private training of every network that sees real records."""

    name = "dp_sgd"
    strength = "sigma"

    @settings
    class Config:
        """sigma: noise multiplier (0 = clip only, no guarantee). clip: bound on a record's gradient norm.

        delta: of (epsilon, delta); must be below 1 / train_size.
        """

        sigma: Annotated[float, Ge(0)]
        clip: Annotated[float, Gt(0)]
        delta: Annotated[float, Gt(0), Lt(1)]

    config: Config

    def refusal(self, target: Target) -> str | None:
        """Batch norm mixes records, so that clipping a record's gradient no longer bounds its influence."""
        for name in target.private:
            for module in target.get_submodule(name).modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    return f"dp_sgd needs a {name} without batch norm; set target.norm to group or none"
        return None

    def record_gradients(self, noise: Streams, expected_batch: float) -> "PrivateGradients":
        """The rule that replaces the ordinary gradient; `noise` must be a stream no other trial has."""
        return PrivateGradients(self.config.sigma, self.config.clip, noise, expected_batch)


class PrivateGradients:
    """(sum of clipped gradients + sigma * clip * N(0, 1)) / expected batch, added to `.grad` (RecordGradients)."""

    def __init__(self, sigma: float, clip: float, noise: Streams, expected_batch: float) -> None:
        self.sigma = sigma
        self.clip = clip
        self.noise = noise
        self.expected_batch = expected_batch

    def __call__(self, network: nn.Module, loss: RecordLoss, records: torch.Tensor, step: Step) -> torch.Tensor:
        """Losses [B] of the sampled records."""
        sums, losses = clipped_sum(network, loss, records, self.clip)
        random = self.noise.torch("noise", step.number, device=records.device)
        for parameter, total in zip((p for p in network.parameters() if p.requires_grad), sums, strict=True):
            noise = torch.empty_like(total).normal_(generator=random)
            private = (total + self.sigma * self.clip * noise) / self.expected_batch
            parameter.grad = private if parameter.grad is None else parameter.grad + private
        return losses
