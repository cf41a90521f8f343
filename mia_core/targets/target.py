"""What every target has: networks, what it offers to an attacker, and a step of its training as a pure function.

A step is a function of weights, records and draws. The target says which losses its networks learn from, in which
order; a `Learner` has the weights, takes the gradients and lets the optimizers step, for one training or for several at
once. Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from mia_core.batches import Rows
from mia_core.settings import Registry
from mia_core.step_draws import Draw
from mia_core.streams import Streams
from mia_core.targets.gradients import Losses, RecordLosses


def adam(
    parameters: list[nn.Parameter], learning_rate: float, beta1: float | None, beta2: float = 0.999
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015; arXiv 1412.6980) for all weights, in one call a step."""
    assert beta1 is not None
    return torch.optim.Adam(parameters, learning_rate, (beta1, beta2), fused=True)


def placed(target: "Target", device: torch.device | str) -> "Target":
    """A target on a device, its convolutions in channels-last order, in which they are faster; scores depend on it.

    A target that is to have the bits of a trained one must be placed, too.
    """
    moved: Target = target.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


@dataclass(frozen=True)
class Batch:
    """What a step is given besides the weights.

    real: [B,C,H,W], of the records that `rows` says; B may be 0, and some or all rows no records. draws: by name, as
    the target's `draws` asks for them. fakes: generated records; 0 trains the discriminator alone, against `contrast`,
    and is for targets that `judge_alone`. generator_learns: whether this step updates more than the discriminator.
    contrast: records [M,C,H,W] on the fake side beside the generated ones, where an attacker puts known non-members;
    None in a target's own training.
    """

    real: torch.Tensor
    rows: Rows
    draws: Mapping[str, torch.Tensor] = field(default_factory=dict)
    fakes: int = 0
    generator_learns: bool = True
    contrast: torch.Tensor | None = None


class Learner(Protocol):
    """The weights of a training, or of several at once, whose tensors have a dimension more, the first.

    Functions it is given are pure: `function(networks, *tensors)`.
    """

    def apply(self, function: Callable[..., torch.Tensor], *tensors: torch.Tensor, graph: bool = True) -> torch.Tensor:
        """What a function gives. graph: whether losses of it reach the networks that it used."""
        ...

    def learn_from_records(
        self, losses: RecordLosses, *records: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Add gradients of real records' losses by the rule for them; the losses [B], detached.

        only: networks that learn now; all by default.
        """
        ...

    def learn_from(
        self, losses: Losses, *tensors: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Add gradients of mean losses of anything else; the losses [N] times their weights, detached."""
        ...

    def update(self, *networks: str) -> None:
        """Let these networks' optimizers step."""
        ...

    def buffer(self, name: str) -> torch.Tensor:
        """A tensor of the target's state that no optimizer changes."""
        ...

    def set_buffer(self, name: str, value: torch.Tensor) -> None:
        """What it is from now on."""
        ...

    def report(self, **values: torch.Tensor) -> None:
        """Scalars for the history, besides the means of all losses."""
        ...


class Target(nn.Module, ABC):
    """A generative model; subclasses have `name`, `offers`, `networks` and a settings class `Config`.

    offers: capabilities that a snapshot of it has, of `mia_core.access.CAPABILITIES`; each needs what it is made of.
    networks: that learn, by attribute. version: of what it trains to; a change that alters that raises it, and so
    renews ids. private: networks whose gradients see real records. They are what a private defense has to treat.
    beyond_gradients: what else of the target's state is a function of real records, if anything: no defense that works
    on gradients covers it. published: settings by which a network differs from the published one in what it leaks, and
    their published values. beta1, beta2: Adam's, beta1 unless a training says otherwise; None for a target that does
    not train with Adam.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    networks: ClassVar[tuple[str, ...]]
    beta1: ClassVar[float | None] = None
    beta2: ClassVar[float] = 0.999
    offers: ClassVar[frozenset[str]]
    private: ClassVar[tuple[str, ...]]
    beyond_gradients: ClassVar[str | None] = None
    published: ClassVar[Mapping[str, Any]] = {}
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
    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """The random tensors of a step on so many real records, generated records and records of the contrast."""

    @abstractmethod
    def step(self, learner: Learner, batch: Batch) -> None:
        """One step: losses, and which networks learn from them when.

        The history gets what the learner reports: `loss_<network>`, the sum of a network's mean losses, and the mean
        of every term of another name.
        """

    def optimizer(
        self, parameters: list[nn.Parameter], learning_rate: float, beta1: float | None
    ) -> torch.optim.Optimizer:
        """Of one network. beta1: Adam's, not None where the target has one."""
        return adam(parameters, learning_rate, beta1, self.beta2)

    def optimizers(self, learning_rate: float, beta1: float | None) -> dict[str, torch.optim.Optimizer]:
        """One a network that learns."""
        return {
            name: self.optimizer(list(self.get_submodule(name).parameters()), learning_rate, beta1)
            for name in self.networks
        }

    @classmethod
    def is_published(cls, config: Any) -> bool:
        """Whether a network of these settings is the published one, as far as that changes what it leaks."""
        return all(getattr(config, name) == value for name, value in cls.published.items())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


TARGETS: Registry[Target] = Registry("target")
