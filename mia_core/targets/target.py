"""What every target has: networks, what it offers to an attacker, and how one optimizer step goes.

Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from mia_core.settings import Registry
from mia_core.step_draws import Draws
from mia_core.streams import Streams

Networks = Mapping[str, Callable[..., Any]]
"""Networks by the name of the target's attribute, to be called like modules."""

RecordLosses = Callable[..., dict[str, torch.Tensor]]
"""`losses(networks, *records) -> {name: [B]}`: what each network that learns loses on each record, a term a record.

The gradient of term `name` reaches the parameters of `networks[name]` and of no other network; a term whose name is no
network's is only reported. `records` are tensors [B,...]: images, and whatever else a term needs of its record.
"""


class RecordGradients(Protocol):
    """Adds the gradients of losses over real records to `.grad` and returns the losses; a defense may replace it.

    It is the only way in which real records may reach a parameter. Losses of rows that are no records are left out.
    """

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], step: "Step"
    ) -> dict[str, torch.Tensor]:
        """Backpropagate; see the class."""
        ...


def mean_gradients(
    networks: Mapping[str, nn.Module],
    losses: RecordLosses,
    records: tuple[torch.Tensor, ...],
    step: "Step",
    weight: float = 1.0,
) -> dict[str, torch.Tensor]:
    """The ordinary way: the gradient of the mean loss of each network, times a weight."""
    values = losses(networks, *records)
    learning = [name for name in values if name in networks]
    for name in learning:
        add_gradients(values[name].mean(), {networks[name]: weight}, retain_graph=name != learning[-1])
    return {name: value.detach() for name, value in values.items()}


def add_gradients(
    loss: torch.Tensor, weights: Mapping[nn.Module, float | torch.Tensor], retain_graph: bool = False
) -> None:
    """Add the gradient of a scalar, times a network's weight, to `.grad` of those networks, and to nothing else."""
    owned = [(p, weight) for network, weight in weights.items() for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [p for p, _ in owned], retain_graph=retain_graph)
    for (parameter, weight), gradient in zip(owned, gradients, strict=True):
        add_gradient(parameter, weight * gradient)


def add_gradient(parameter: nn.Parameter, gradient: torch.Tensor) -> None:
    """Add to `.grad`, in the parameter's own order in memory.

    torch's fused Adam reads parameter and gradient as they lie in a CPU's memory, and does not see that they are in
    different orders.
    """
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def adam(network: nn.Module, learning_rate: float, beta1: float | None, beta2: float = 0.999) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2015; arXiv 1412.6980) for all of a network's weights, in one call a step."""
    assert beta1 is not None
    return torch.optim.Adam(network.parameters(), learning_rate, (beta1, beta2), fused=True)


def placed(target: "Target", device: torch.device | str) -> "Target":
    """A target on a device, its convolutions in channels-last order, in which they are faster; scores depend on it.

    A target that is to have the bits of a trained one must be placed, too.
    """
    moved: Target = target.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


@dataclass(frozen=True)
class Step:
    """All that one optimizer step needs besides the records.

    number: from 0. fakes: generated records per step; 0 trains the discriminator alone, against `contrast`, and is for
    targets that `judges_alone`.
    train_generator: whether this step updates the generator too. contrast: records [M,C,H,W] on the fake side beside
    the generated ones, where an attacker puts known non-members; None in a target's own training. units: int64 [B], of
    the real records, see `mia_core.batches.Batch`; None where every row is a record.
    """

    number: int
    fakes: int
    train_generator: bool
    draws: Draws
    optimizers: dict[str, torch.optim.Optimizer]
    record_gradients: RecordGradients
    contrast: torch.Tensor | None = None
    units: torch.Tensor | None = None

    def fake_side(self, *fakes_BCHW: torch.Tensor) -> torch.Tensor:
        """Generated records, without their graph, and the contrast: what the discriminator learns to call fake."""
        parts = [fake.detach() for fake in fakes_BCHW]
        return torch.cat(parts if self.contrast is None else [*parts, self.contrast])


class Target(nn.Module, ABC):
    """A generative model; subclasses have `name`, `offers` and a settings class `Config`.

    offers: capabilities that a snapshot of it has, of `mia_core.access.CAPABILITIES`; each needs what it is made of.
    version: of what it trains to; a change that alters that raises it, and so renews ids. private: networks whose
    gradients see real records. They are what a private defense has to treat. beyond_gradients: what else of the
    target's state is a function of real records, if anything: no defense that works on gradients covers it.
    judges_alone: whether the discriminator can learn to tell two sets of records apart without a generator beside it.
    published: settings by which a network differs from the published one in what it leaks, and their published values.
    beta1: Adam's, unless a training says otherwise; None for a target that does not train with Adam.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    beta1: ClassVar[float | None] = None
    offers: ClassVar[frozenset[str]]
    private: ClassVar[tuple[str, ...]]
    beyond_gradients: ClassVar[str | None] = None
    judges_alone: ClassVar[bool] = True
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
    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """The white-box score [B], higher = more like the training records; logits, so that it never saturates."""

    @abstractmethod
    def optimizers(self, learning_rate: float, beta1: float | None) -> dict[str, torch.optim.Optimizer]:
        """One optimizer a network. beta1: Adam's, not None where the target has one."""

    @abstractmethod
    def update(self, x_BCHW: torch.Tensor, step: Step) -> dict[str, torch.Tensor]:
        """One optimizer step on real records; returns the scalars of `history`, not yet on the host.

        B may be 0, and some or all rows no records, as `step.units` says.

        loss_generator, loss_discriminator, d_real, d_fake, and whatever else tells how this target's training goes.
        """

    def fakes(self, step: Step) -> torch.Tensor:
        """The generated records [fakes,C,H,W] of a step, with a graph when the generator learns in it."""
        z = step.draws.normal("latent", step.number, (step.fakes, self.latent_dimension))
        if not step.fakes:
            return z.new_empty(0, *self.image_shape)
        with torch.set_grad_enabled(step.train_generator):
            return self.generate(z)

    def activations(self) -> list[nn.Sequential]:
        """The discriminator's hidden blocks: where a defense may append a layer."""
        raise ValueError(f"{self.name} has no discriminator blocks")

    @classmethod
    def is_published(cls, config: Any) -> bool:
        """Whether a network of these settings is the published one, as far as that changes what it leaks."""
        return all(getattr(config, name) == value for name, value in cls.published.items())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device


TARGETS: Registry[Target] = Registry("target")
