"""Base class of targets: networks, capabilities that they offer an attacker, and a pure training step.

A step is a function of weights, records and draws. The target defines which losses its networks learn from, and in
which order. A `Learner` holds the weights, takes the gradients and runs the optimizers, for one training or several at
once. Shapes: B batch, C H W image, Z latent dimension. Images are float in [-1, 1].
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from mia_core.batches import Rows
from mia_core.errors import Refused, shorten
from mia_core.hashing import canonical_json
from mia_core.model_facts import ModelFacts
from mia_core.registry import Registry, StoredSettings
from mia_core.settings import Choice, Nothing
from mia_core.step_draws import Draw
from mia_core.streams import Streams
from mia_core.targets.convolutions import initialize
from mia_core.targets.gradients import Losses, RecordLosses
from mia_core.targets.optimizers import Adam


def adam(
    parameters: list[nn.Parameter], learning_rate: float, beta1: float | None, beta2: float = 0.999
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba 2015; arXiv 1412.6980) for all weights of a network, in one fused call per step."""
    assert beta1 is not None
    return Adam(parameters, learning_rate, (beta1, beta2), fused=True)


def placed(target: "Target", device: torch.device | str) -> "Target":
    """Move a target to a device, in channels-last memory format, which makes convolutions faster.

    The format changes rounding: a target whose scores must equal a trained target's bit for bit must be placed, too.
    """
    moved: Target = target.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


@dataclass(frozen=True)
class Batch:
    """The input of a step, except the weights.

    real: [B,C,H,W], the records of `rows`; B may be 0, and any row may be padding. draws: random tensors by name, as
    the target's `draws` requests them. fakes: number of generated records; 0 trains the discriminator alone, against
    `contrast`, for targets with `judges_alone`. generator_learns: whether this step updates more than the
    discriminator. contrast: records [M,C,H,W] on the fake side besides generated ones: known non-members of an
    attacker's surrogate. None in a target's training.
    """

    real: torch.Tensor
    rows: Rows
    draws: Mapping[str, torch.Tensor] = field(default_factory=dict)
    fakes: int = 0
    generator_learns: bool = True
    contrast: torch.Tensor | None = None


class Learner(Protocol):
    """The weights of one training, or of several at once; then tensors have a leading dimension for the trainings.

    Functions that it receives must be pure: `function(networks, *tensors)`.
    """

    def apply(self, function: Callable[..., torch.Tensor], *tensors: torch.Tensor, graph: bool = True) -> torch.Tensor:
        """The value of a function of the networks. graph: whether later losses propagate into these networks."""
        ...

    def learn_from_records(
        self, losses: RecordLosses, *records: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Add gradients of real records' losses, by the gradient rule. Returns the losses [B], detached.

        only: names of networks that learn now; all by default.
        """
        ...

    def learn_from(
        self, losses: Losses, *tensors: torch.Tensor, only: Collection[str] | None = None
    ) -> dict[str, torch.Tensor]:
        """Add gradients of the mean of other losses. Returns the losses [N] times their weights, detached."""
        ...

    def update(self, *networks: str) -> None:
        """Do an optimizer step for each of these networks."""
        ...

    def average(self, name: str, decay: torch.Tensor) -> None:
        """Set the weights of one of the target's `averages` to decay * own + (1 - decay) * those of its network."""
        ...

    def buffer(self, name: str) -> torch.Tensor:
        """A copy of a tensor of the target's state that no optimizer changes."""
        ...

    def set_buffer(self, name: str, value: torch.Tensor) -> None:
        """Set this tensor."""
        ...

    def report(self, **values: torch.Tensor) -> None:
        """Add scalars to the history, besides the means of all losses."""
        ...


class Target(nn.Module, ABC):
    """A generative model; subclasses set `name`, `offers`, `networks`, and `Config` if there are settings.

    offers: capabilities of a trained snapshot, keys of `mia_core.access.CAPABILITIES`; settings may leave some out.
    timesteps, deviation: see `ModelFacts`.
    networks: attributes of the networks that learn. averages: attributes of networks that are averages of the weights
    of others, by whose attributes. version: part of ids; raise it if a change alters trained targets. private: networks
    whose gradients depend on real records, which a private defense has to treat. beyond_gradients: other state that
    depends on real records, if any; defenses that treat gradients do not cover it. published: settings that affect
    leakage, with the values of the published network. beta1, beta2: of Adam; a training may override beta1, which is
    None for a target that does not train with Adam.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    networks: ClassVar[tuple[str, ...]]
    beta1: ClassVar[float | None] = None
    beta2: ClassVar[float] = 0.999
    averages: ClassVar[Mapping[str, str]] = {}
    offers: frozenset[str]
    timesteps: int | None = None
    deviation: float | None = None
    private: ClassVar[tuple[str, ...]]
    beyond_gradients: ClassVar[str | None] = None
    published: ClassVar[Mapping[str, Any]] = {}
    Config: ClassVar[type] = Nothing

    latent_dimension: int

    def __init__(self, config: Any, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.config = config
        self.image_shape = image_shape

    @property
    def facts(self) -> ModelFacts:
        """What tells whether an attack fits it, once it is trained."""
        return ModelFacts(self.name, self.offers, self.image_shape, self.timesteps, self.deviation)

    def initialize(self, streams: Streams) -> None:
        """Draw all initial weights from `streams`, as of `convolutions.initialize`."""
        initialize(self, streams)

    @abstractmethod
    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Images [B,C,H,W] for standard normal latents [B,Z]."""

    def sample(self, z_BZ: torch.Tensor, rng: Streams) -> torch.Tensor:
        """Images [B,C,H,W] that begin from standard normal latents [B,Z]. rng: of targets that draw more on the way."""
        return self.generate(z_BZ)

    @abstractmethod
    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """The random tensors of a step with these numbers of real records, generated records and contrast records."""

    @abstractmethod
    def step(self, learner: Learner, batch: Batch) -> None:
        """Do one training step: compute losses, and update the networks that learn from them, in order.

        The history gets what the learner reports: `loss_<network>`, the sum of a network's mean losses, and the mean of
        every other term.
        """

    def optimizer(
        self, parameters: list[nn.Parameter], learning_rate: float, beta1: float | None
    ) -> torch.optim.Optimizer:
        """The optimizer of one network. beta1: of Adam, not None if the target has one."""
        return adam(parameters, learning_rate, beta1, self.beta2)

    def optimizers(self, learning_rate: float, beta1: float | None) -> dict[str, torch.optim.Optimizer]:
        """One optimizer per network that learns, by name."""
        return {
            name: self.optimizer(list(self.get_submodule(name).parameters()), learning_rate, beta1)
            for name in self.networks
        }

    @classmethod
    def published_settings(cls, config: Any) -> Mapping[str, Any]:
        """Settings that affect leakage, with the values of the published network."""
        return cls.published

    @classmethod
    def is_published(cls, config: Any) -> bool:
        """Whether these settings give the published network, as far as leakage is concerned."""
        return all(getattr(config, name, None) == value for name, value in cls.published_settings(config).items())

    @classmethod
    def unread_training(cls) -> dict[str, str]:
        """Settings of a training that mean nothing to this target, each with the reason."""
        return {} if cls.beta1 is not None else {"beta1": "does not train with Adam and has no beta1"}

    @classmethod
    def unread(cls, config: Any, image_shape: tuple[int, ...] | None = None) -> dict[str, str]:
        """Settings of its own that mean nothing beside the others of `config`, each with the reason.

        image_shape: (C, H, W) where it is known, for what means nothing for such images.
        """
        return {}

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device


class StoredTarget(Target):
    """Stands for a target of a package where a store is read; it cannot be built."""

    @classmethod
    def published_settings(cls, config: StoredSettings) -> Mapping[str, Any]:
        """As the store says."""
        found = config.fact("published")
        return found if isinstance(found, dict) else {}

    @staticmethod
    def kept(choice: Choice[Target], before: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of the published network."""
        return {"published": dict(choice.cls.published)}

    @staticmethod
    def unfit_class(cls: type[Target]) -> str | None:
        """Why a package cannot offer this target, or None."""
        if inspect.getattr_static(cls, "is_published") is not inspect.getattr_static(Target, "is_published"):
            return "has its own `is_published`, which a store could not be read without; set `published`"
        try:
            canonical_json(cls.published)
        except (TypeError, ValueError):
            return "has `published` settings that are no plain values"
        missing = [name for name in ("networks", "offers", "private") if not hasattr(cls, name)]
        return f"lacks {', '.join(missing)}" if missing else None


TARGETS: Registry[Target] = Registry("target", "targets", StoredTarget)


def shaped(target: Choice[Target], image_shape: tuple[int, int, int]) -> Target:
    """A target without memory for its parameters; Refused where not even their number can be counted."""
    try:
        with torch.device("meta"):
            return target.build(image_shape)
    except (RuntimeError, TypeError) as error:
        if "verflow" not in str(error):  # torch's word for more elements than 64 bits count
            raise
    settings = ", ".join(f"{key}={value}" for key, value in target.arguments().items() if isinstance(value, int))
    raise Refused(
        f"target: {target.name} with {shorten(settings)} has more parameters than can be counted; lower its width or "
        "its latent size"
    )
