"""DP-SGD by opacus and by torch.func, as rules of gradients (RecordGradients) for a discriminator.

Each does with the real half of a step what `mia_core.defenses.DPSGD` does: clip every record's gradient over all
parameters jointly, sum, add noise, divide by the expected batch, leave it in `.grad`. A target's step then adds the
fake half and lets the optimizer step.

opacus keeps its hooks on the network itself, so they would see the fake half too. They are disabled once the real half
is through, and opacus's optimizer step is cut in two: `pre_step` (clip, noise, divide) here, and the wrapped
optimizer's own step by the target's, after the fake half was added to `.grad`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import functional_call, grad_and_value, vmap

from mia_core import vision  # noqa: F401  before opacus, which reaches torchvision
from mia_core.batches import Rows
from mia_core.targets import RecordGradients, RecordLosses

# isort: split
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

NETWORK = "discriminator"


@dataclass(frozen=True)
class Privacy:
    """Noise multiplier, bound on a record's gradient norm, and the batch that sums are divided by."""

    sigma: float
    clip: float
    expected_batch: int


class OpacusHooks:
    """opacus's standard mode: hooks store every record's gradient, the optimizer clips and sums them."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, privacy: Privacy) -> None:
        self.module = GradSampleModule(network)
        self.optimizer = DPOptimizer(
            optimizer,
            noise_multiplier=privacy.sigma,
            max_grad_norm=privacy.clip,
            expected_batch_size=privacy.expected_batch,
        )

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Losses [B] of the records."""
        self.optimizer.zero_grad(set_to_none=True)
        self.module.enable_hooks()
        values = losses({NETWORK: self.module}, *records)
        values[NETWORK].mean().backward()
        self.module.disable_hooks()
        self.optimizer.pre_step()
        return {name: value.detach() for name, value in values.items()}


class OpacusGhost:
    """opacus's ghost clipping: norms in a first backward pass, the gradient of the clip-weighted loss in a second.

    Its convolutions and group norms have no norm samplers: for them it instantiates gradients, a layer at a time. Its
    loss wraps a criterion of logits and labels, so this rule is for a discriminator's loss -log D on real records.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, privacy: Privacy) -> None:
        self.module = GradSampleModuleFastGradientClipping(network, max_grad_norm=privacy.clip)
        self.optimizer = DPOptimizerFastGradientClipping(
            optimizer,
            noise_multiplier=privacy.sigma,
            max_grad_norm=privacy.clip,
            expected_batch_size=privacy.expected_batch,
        )
        self.criterion = DPLossFastGradientClipping(self.module, self.optimizer, nn.BCEWithLogitsLoss())

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Losses [B] of the records."""
        self.optimizer.zero_grad(set_to_none=True)
        self.module.enable_hooks()
        logits = self.module(*records).flatten()
        loss = self.criterion(logits, torch.ones_like(logits))
        loss.backward()
        self.module.disable_hooks()
        self.optimizer.pre_step()
        return {NETWORK: loss.loss_per_sample.detach()}


class TorchFunc:
    """vmap(grad) as in torch.func's own tutorial: every record's gradient, then sums weighted by clip factors."""

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, privacy: Privacy) -> None:
        self.network = network
        self.privacy = privacy

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Losses [B] of the records."""

        def record_loss(weights: dict[str, torch.Tensor], *record: torch.Tensor) -> torch.Tensor:
            called = {NETWORK: lambda *inputs: functional_call(self.network, weights, inputs)}
            return losses(called, *(part[None] for part in record))[NETWORK].sum()

        parameters = dict(self.network.named_parameters())
        weights = {name: p.detach() for name, p in parameters.items()}
        in_dims = (None, *(0 for _ in records))
        gradients, values = vmap(grad_and_value(record_loss), in_dims=in_dims)(weights, *records)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        factors = (self.privacy.clip / norms).clamp(max=1.0)
        for name, p in parameters.items():
            total = torch.einsum("b,b...->...", factors, gradients[name])
            noise = self.privacy.sigma * self.privacy.clip * torch.randn_like(total)
            p.grad = (total + noise) / self.privacy.expected_batch
        return {NETWORK: values}


COMPETITORS: dict[str, Callable[[nn.Module, torch.optim.Optimizer, Privacy], RecordGradients]] = {
    "opacus hooks": OpacusHooks,
    "opacus ghost": OpacusGhost,
    "torch.func": TorchFunc,
}
