"""Base class of defenses: one optional hook for each part of training."""

import inspect
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import nn

from mia_core.batches import Batches
from mia_core.errors import Refused, shorten
from mia_core.persons import Persons
from mia_core.registry import Registry, StoredSettings
from mia_core.secret_draws import SecretDraws
from mia_core.settings import Choice, Nothing
from mia_core.step_draws import STEP, Draw, Draws
from mia_core.streams import Streams
from mia_core.targets import Adversarial, RecordGradients, RecordLosses, Target


@dataclass(frozen=True)
class TrainingFacts:
    """What hooks know about a training.

    records: their number. train_size: the nominal number n. batch_size: B. streams: from the training's seed. secret:
    draws that cannot be reproduced. horizon: the maximal number of steps, if limited. persons: of the records, if
    known.
    """

    records: int
    train_size: int
    batch_size: int
    streams: Streams
    secret: SecretDraws
    horizon: int | None = None
    persons: Persons | None = None


class Defense(ABC):
    """A defense with its settings; subclasses set `name`, and `Config` and `strength` where there are settings.

    strength: the setting that orders this defense from weak to strong (units differ between defenses); None for a
    defense that is either on or off. version: part of ids; raise it if a change alters trained targets. only_here: why
    packages cannot offer such a defense, if they cannot.

    Hooks, in the order in which training calls them: `modify` (networks), `parts` (of the records), `batches`,
    `inputs`, `losses`, `gradients`, `weights`.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    strength: ClassVar[str | None] = None
    only_here: ClassVar[str | None] = None
    Config: ClassVar[type] = Nothing

    def __init__(self, config: Any) -> None:
        self.config = config

    # Labels

    @classmethod
    def shown(cls, config: Any) -> tuple[str, float] | None:
        """Name and value of the setting `strength`, for labels; None without one."""
        return None if cls.strength is None else (cls.strength, float(getattr(config, cls.strength)))

    @classmethod
    def qualifier(cls, config: Any) -> str:
        """Additional text of a label, e.g. `unit=person`."""
        return ""

    @property
    def rows_per_record(self) -> int:
        """Rows of a batch for each of its records, each row with random numbers of its own."""
        return 1

    @property
    def control(self) -> bool:
        """Whether this is a control, which isolates one effect of a defense and is not meant to protect."""
        return False

    # Refusals, before anything runs

    def refusal(self, target: Target) -> str | None:
        """Why this defense cannot be used with a target, or None."""
        return None

    def conflict(self, others: Sequence["Defense"]) -> str | None:
        """Why this defense cannot be combined with others, or None."""
        return None

    # Hooks

    def modify(self, target: Target) -> None:
        """Change the target's networks in place, without drawing random numbers."""
        return

    def parts(self, images: np.ndarray, streams: Streams) -> np.ndarray | None:
        """int64 [.]: indices of the training records, uint8 [n,C,H,W], to train on; None for all."""
        return None

    def batches(self, facts: TrainingFacts) -> Batches | None:
        """The choice of each step's records, or None for shuffled orders."""
        return None

    def inputs(self, x_BCHW: torch.Tensor, draw: Callable[[str, Draw], torch.Tensor]) -> torch.Tensor:
        """The real records as a step sees them, each row a function of its record; `draw(purpose, draw)` gives numbers.

        Purposes must be specific to this defense: begin them with its name.
        """
        return x_BCHW

    def losses(self, losses: RecordLosses) -> RecordLosses:
        """The losses of real records, possibly changed."""
        return losses

    def gradients(self, rule: RecordGradients, facts: TrainingFacts) -> RecordGradients:
        """The gradient rule for real records, possibly replaced."""
        return rule

    def weights(self, target: Target) -> None:
        """Change the weights in place after a step."""
        return


def needs_discriminator(defense: str, target: Target) -> str | None:
    """Why a defense that changes the discriminator cannot be used with a target without one, or None."""
    return None if "discriminate" in target.offers else f"{defense} needs a discriminator, and {target.name} has none"


def hidden_blocks(target: Target) -> list[nn.Sequential]:
    """The hidden blocks of a target's discriminator, which it must have."""
    assert isinstance(target, Adversarial), needs_discriminator("this", target)
    return target.hidden_blocks()


class RandomLayer(nn.Module):
    """A layer with random numbers in training mode; `index` distinguishes layers of one kind.

    Training supplies the numbers. Each pass of a step (real records, generated ones, the generator's loss) has
    different numbers, which depend only on layer, step, pass and shape, and are the same on any device.
    """

    def __init__(self, index: int) -> None:
        super().__init__()
        self.index = index
        self.end()
        self.step = self.passes = 0

    def end(self) -> None:
        """Delete numbers and their source, which may contain a private training's key, since targets may be shared."""
        self.draws = Draws(Streams(), block=STEP)
        self._asked: dict[int, Draw] = {}
        self._asked_before: dict[int, Draw] = {}
        self._ready: dict[int, tuple[Draw, torch.Tensor]] = {}

    def begin(self, draws: Draws, step: int) -> None:
        """Start a step. draws: the source of its numbers, with blocks of one step.

        Numbers that both of the last two steps requested are drawn now, so that the step itself draws nothing.
        """
        self.draws, self.step, self.passes = draws, step, 0
        expected = {number: draw for number, draw in self._asked.items() if self._asked_before.get(number) == draw}
        self._asked_before, self._asked = self._asked, {}
        self._ready = {number: (draw, self._numbers(number, draw)) for number, draw in expected.items()}

    def drawn(self, law: Literal["normal", "uniform"], x: torch.Tensor) -> torch.Tensor:
        """Numbers in the shape of x for the next pass of this step, in channels-last memory format."""
        self.passes += 1
        draw = Draw(law, tuple(x.shape if x.ndim < 3 else x.movedim(1, -1).shape))
        self._asked[self.passes] = draw
        expected, numbers = self._ready.get(self.passes, (None, None))
        if numbers is None or expected != draw:
            numbers = self._numbers(self.passes, draw)
        return numbers if x.ndim < 3 else numbers.movedim(-1, 1)

    def _numbers(self, number: int, draw: Draw) -> torch.Tensor:
        return self.draws(f"{type(self).__name__.lower()}_layer {self.index} pass {number}", self.step, draw)


class StoredDefense(Defense):
    """Stands for a defense of a package where a store is read."""

    config: StoredSettings

    @classmethod
    def shown(cls, config: StoredSettings) -> tuple[str, float] | None:
        """Name and value of the setting that the store calls the strength."""
        strength = config.fact("strength")
        if strength is None:
            return None
        value = getattr(config, strength, None) if isinstance(strength, str) else None
        if not isinstance(value, int | float):
            raise Refused(f"the strength of a defense of a package, {shorten(repr(strength))}, is no number of it")
        return strength, float(value)

    @staticmethod
    def kept(choice: Choice[Defense], before: Mapping[str, Any]) -> dict[str, Any]:
        """The name of its strength."""
        return {"strength": choice.cls.strength}

    @staticmethod
    def unfit_class(cls: type[Defense]) -> str | None:
        """Why a package cannot offer this defense, or None."""
        if cls.only_here:
            return cls.only_here
        for name in ("shown", "qualifier", "control"):
            if inspect.getattr_static(cls, name) is not inspect.getattr_static(Defense, name):
                return f"has its own `{name}`, which a store could not be read without; leave it out"
        if cls.strength is not None and cls.strength not in {item.name for item in fields(cls.Config)}:
            return f"has the strength {cls.strength!r}, which is none of its settings"
        return None


DEFENSES: Registry[Defense] = Registry("defense", "defenses", StoredDefense)
