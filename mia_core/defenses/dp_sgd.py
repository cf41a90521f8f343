"""DP-SGD (Abadi et al. 2016; arXiv 1607.00133): clip each real record's gradient, add noise, sample by Poisson.

Only real records are private; gradients of generated records are added untouched (they are a function of weights that
are private already). epsilon(delta), see `accounting`, is under add/remove-one neighbors, and covers the
trained networks; it covers neither released training curves nor a choice of the epoch made by looking at them.
The noise comes from a seeded stream, so that a trial can be repeated: whoever releases a model keeps the seed secret.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Self

import torch
from annotated_types import Ge, Gt, Lt
from pydantic import model_validator
from torch import nn
from torch.func import functional_call, vjp, vmap

from mia_core.defenses.accounting import Accountant, noise_multiplier
from mia_core.defenses.base import DEFENSES, Defense
from mia_core.settings import settings
from mia_core.streams import Streams
from mia_core.targets import RecordLosses, Step, Target


def clipped_sums(
    networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], clip: float
) -> tuple[dict[str, list[torch.Tensor]], dict[str, torch.Tensor]]:
    """Sums over records of their gradients, each scaled to norm at most `clip`, and the losses [B], by network.

    A sum has one tensor per trainable parameter, in order. A record's norm is over all parameters of all networks that
    learn from it together, so that removing one record moves all sums together by at most `clip`. B may be 0.
    """
    weights = {
        name: {key: p.detach() for key, p in network.named_parameters() if p.requires_grad}
        for name, network in networks.items()
    }

    def record_gradients(*record: torch.Tensor) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        def record_losses(weights: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            called = {name: partial(_call, network, weights[name]) for name, network in networks.items()}
            return {name: loss.sum() for name, loss in losses(called, *(part[None] for part in record)).items()}

        values, pull = vjp(record_losses, weights)[:2]
        zeros = {name: torch.zeros_like(value) for name, value in values.items()}
        learning = {name: torch.ones_like(value) for name, value in values.items() if name in networks}
        return {name: pull(zeros | {name: one})[0][name] for name, one in learning.items()}, values

    if not len(records[0]):
        with torch.no_grad():
            none = losses(networks, *records)
        return {name: [torch.zeros_like(p) for p in weights[name].values()] for name in none if name in networks}, none
    gradients, values = vmap(record_gradients, randomness="different")(*records)
    every = [g for parts in gradients.values() for g in parts.values()]
    norms = torch.stack([g.flatten(1).norm(dim=1) for g in every]).norm(dim=0)
    factors = (clip / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1.0)
    return {
        name: [torch.einsum("b,b...->...", factors, g) for g in parts.values()] for name, parts in gradients.items()
    }, {name: value.detach() for name, value in values.items()}


def _call(network: nn.Module, weights: dict[str, torch.Tensor], *inputs: torch.Tensor) -> Any:
    return functional_call(network, weights, inputs)


@DEFENSES.register
class DPSGD(Defense):
    """Private training of every network that sees real records."""

    name = "dp_sgd"
    strength = "sigma"

    @settings
    class Config:
        """sigma: noise multiplier (0 = clip only, no guarantee). clip: bound on a record's gradient norm.

        target_epsilon: in place of sigma, the epsilon to end with; the noise then depends on the steps to be trained.
        delta: of (epsilon, delta); must be below 1 / train_size.
        """

        sigma: Annotated[float, Ge(0)] | None = None
        target_epsilon: Annotated[float, Gt(0)] | None = None
        clip: Annotated[float, Gt(0)]
        delta: Annotated[float, Gt(0), Lt(1)]

        @model_validator(mode="after")
        def _either(self) -> Self:
            if (self.sigma is None) == (self.target_epsilon is None):
                raise ValueError("give sigma or target_epsilon, one of them")
            return self

    config: Config

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float]:
        """sigma, or the target epsilon."""
        return ("epsilon", config.target_epsilon) if config.sigma is None else ("sigma", config.sigma)

    def noise_multiplier(self, sampling_rate: float, horizon: int | None) -> float:
        """sigma; of a target epsilon, the one that reaches it after `horizon` steps, ValueError without a horizon."""
        if self.config.sigma is not None:
            return self.config.sigma
        assert self.config.target_epsilon is not None
        if horizon is None:
            raise ValueError("dp_sgd.target_epsilon needs a horizon, the steps to be trained, to find its noise")
        return noise_multiplier(self.config.target_epsilon, self.config.delta, sampling_rate, horizon)

    def refusal(self, target: Target) -> str | None:
        """Batch norm mixes records, so that clipping a record's gradient no longer bounds its influence."""
        if target.beyond_gradients:
            return f"dp_sgd does not cover {target.beyond_gradients} of {target.name}, which no gradient carries"
        for name in target.private:
            for module in target.get_submodule(name).modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    return f"dp_sgd needs a {name} without batch norm; set target.norm to group or none"
        return None

    def record_gradients(
        self, noise: Streams, expected_batch: float, sampling_rate: float, horizon: int | None
    ) -> "PrivateGradients":
        """The rule that replaces the ordinary gradient; `noise` must be a stream no other trial has."""
        sigma = self.noise_multiplier(sampling_rate, horizon)
        return PrivateGradients(sigma, self.config.clip, noise, expected_batch, sampling_rate)


class PrivateGradients:
    """(sum of clipped gradients + sigma * clip * N(0, 1)) / expected batch, added to `.grad` (RecordGradients).

    sampling_rate: only for the accountant, which counts every call; the default claims nothing from sampling.
    """

    def __init__(
        self, sigma: float, clip: float, noise: Streams, expected_batch: float, sampling_rate: float = 1.0
    ) -> None:
        self.sigma = sigma
        self.clip = clip
        self.noise = noise
        self.expected_batch = expected_batch
        self.accountant = Accountant(sigma, sampling_rate)

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], step: Step
    ) -> dict[str, torch.Tensor]:
        """Losses [B] of the sampled records, by network."""
        sums, values = clipped_sums(networks, losses, records, self.clip)
        self.accountant.steps += 1
        random = self.noise.torch("noise", step.number, device=records[0].device)
        for name, totals in sums.items():
            trainable = (p for p in networks[name].parameters() if p.requires_grad)
            for parameter, total in zip(trainable, totals, strict=True):
                noise = torch.empty_like(total).normal_(generator=random)
                private = (total + self.sigma * self.clip * noise) / self.expected_batch
                parameter.grad = private if parameter.grad is None else parameter.grad + private
        return values
