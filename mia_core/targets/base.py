"""What every target has: networks, what it offers to an attacker, and how one optimizer step goes.

Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from mia_core.settings import Registry
from mia_core.streams import Streams

RecordLoss = Callable[[Callable[[torch.Tensor], torch.Tensor], torch.Tensor], torch.Tensor]
"""`loss(network, x_BCHW) -> [B]`: one term a record, so that its gradient can be taken record by record."""


class RecordGradients(Protocol):
    """Adds to `.grad` the gradient of a loss over real records and returns the losses [B]; a defense may replace it.

    It is the only way in which real records may reach a parameter.
    """

    def __call__(self, network: nn.Module, loss: RecordLoss, records: torch.Tensor, step: "Step") -> torch.Tensor:
        """Backpropagate; see the class."""
        ...


def mean_gradients(network: nn.Module, loss: RecordLoss, records: torch.Tensor, step: "Step") -> torch.Tensor:
    """The ordinary way: the gradient of the mean loss."""
    losses = loss(network, records)
    losses.mean().backward()
    return losses.detach()


@dataclass(frozen=True)
class Step:
    """All that one optimizer step needs besides the records.

    number: from 0. fakes: generated records per step. train_generator: whether this step updates the generator too.
    """

    number: int
    fakes: int
    train_generator: bool
    streams: Streams
    optimizers: dict[str, torch.optim.Optimizer]
    record_gradients: RecordGradients


class Target(nn.Module, ABC):
    """A generative model; subclasses have `name`, `offers` and a settings class `Config`.

    offers: networks an attacker with enough access finds, of "generator", "discriminator", "encoder", "denoiser".
    private: networks whose gradients see real records. They are what a private defense has to treat.
    """

    name: ClassVar[str]
    offers: ClassVar[frozenset[str]]
    private: ClassVar[tuple[str, ...]]
    Config: ClassVar[type]

    latent_dimension: int

    def __init__(self, config: Any, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.image_shape = image_shape

    @abstractmethod
    def initialize(self, streams: Streams) -> None:
        """Draw all initial weights from `streams`."""

    @abstractmethod
    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] for standard normal latents [B,Z]."""

    @abstractmethod
    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The white-box score [B], higher = more like the training records; logits, so that it never saturates."""

    @abstractmethod
    def optimizers(self, learning_rate: float, beta1: float) -> dict[str, torch.optim.Optimizer]:
        """One optimizer a network."""

    @abstractmethod
    def update(self, x_BCHW: torch.Tensor, step: Step) -> dict[str, torch.Tensor]:
        """One optimizer step on real records (B may be 0); returns the scalars `history` has, not yet on the host."""

    def activations(self) -> list[nn.Sequential]:
        """The discriminator's hidden blocks: where a defense may append a layer."""
        raise ValueError(f"{self.name} has no discriminator blocks")

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


TARGETS: Registry[Target] = Registry("target")
