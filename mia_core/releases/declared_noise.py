"""The noise that a network was trained with, as its user declares it: the schedule, and the range of its images."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Gt, Le
from pydantic import BeforeValidator, model_validator

from mia_core.diffusion import cosine, linear, of_betas
from mia_core.errors import Refused
from mia_core.releases.sample_arrays import BOUNDS
from mia_core.settings import settings

NAMES = ("linear", "scaled_linear", "cosine")
WORKED = 1000
"""T of which a linear schedule without `betas` is that of Ho et al. 2020; at others code bases differ."""
WAY_OUT = "the alphas_cumprod of a scheduler are such a list; --schedule takes an .npy file of it"


def _schedule(given: Any) -> Any:
    if isinstance(given, str) and given not in NAMES:
        raise Refused(f"is one of {', '.join(NAMES)}, or a list of alpha_bar, a number per timestep ({WAY_OUT})")
    if isinstance(given, list) and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in given):
        return tuple(float(one) for one in given)
    return given


def _pair(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


Schedule = Annotated[Literal["linear", "scaled_linear", "cosine"] | tuple[float, ...], BeforeValidator(_schedule)]


@settings
class NoiseSettings:
    """timesteps: T; times are 0 .. T-1. schedule: `linear`, `scaled_linear` (of which the betas' roots are linear),
    `cosine`, or a list of alpha_bar for each time. betas: the first and the last of a linear schedule; null for 1e-4
    and 0.02 of a linear one of 1,000 timesteps.
    """

    timesteps: Annotated[int, Gt(1), Le(100_000)]
    schedule: Schedule
    betas: Annotated[tuple[float, float], BeforeValidator(_pair)] | None = None

    @model_validator(mode="after")
    def _declared(self) -> Self:
        if isinstance(self.schedule, tuple):
            if len(self.schedule) != self.timesteps:
                raise Refused(
                    f"schedule: is a list of {len(self.schedule)} numbers for {self.timesteps} timesteps; one for each "
                    "is needed"
                )
            _require_alpha_bar(self.schedule)
        if self.schedule in ("linear", "scaled_linear"):
            if self.betas is None and (self.schedule, self.timesteps) != ("linear", WORKED):
                raise Refused(
                    f"betas: are needed, the first and the last of schedule {self.schedule} with {self.timesteps} "
                    "timesteps (beta_start and beta_end of a scheduler; 1e-4 and 0.02 are DDPM's of 1,000, and some "
                    "code scales them by 1,000 / timesteps)"
                )
            if self.betas is not None and not 0 < self.betas[0] <= self.betas[1] < 1:
                raise Refused(
                    f"betas: are between 0 and 1, and the first is not above the last; got {self.betas[0]:g} and "
                    f"{self.betas[1]:g}"
                )
        elif self.betas is not None:
            raise Refused("betas: are those of a linear schedule; leave them out")
        return self

    @property
    def alpha_bar(self) -> torch.Tensor:
        """[T], float64."""
        if isinstance(self.schedule, tuple):
            return torch.tensor(self.schedule, dtype=torch.float64)
        if self.schedule == "cosine":
            return cosine(self.timesteps)
        if self.betas is None:
            return linear(self.timesteps)
        return of_betas(*self.betas, self.timesteps, 2 if self.schedule == "scaled_linear" else 1)

    @property
    def schedule_words(self) -> str:
        """In a line."""
        name = "listed" if isinstance(self.schedule, tuple) else self.schedule.replace("_", " ")
        return f"a {name} schedule" + (f" (betas {self.betas[0]:g} to {self.betas[1]:g})" if self.betas else "")


def _require_alpha_bar(values: tuple[float, ...]) -> None:
    previous = 1.0
    for time, value in enumerate(values):
        if not 0 < value < previous:
            after = f"after {previous:g}" if time else "at first"
            raise Refused(
                f"schedule: {value:g} is no alpha_bar {after}, at time {time}: they fall from below 1 and stay above 0 "
                f"({WAY_OUT}; of betas they are the products of 1 - beta up to each time)"
            )
        previous = value


@dataclass(frozen=True)
class Scale:
    """A network's own images, low .. high, and its x_t, as maps of images in [-1, 1] and of their x_t.

    With image u = s x + m, the network's x_t, sqrt(abar) u + sqrt(1 - abar) eps, has the signal of an x_t whose
    (1 - abar') / abar' is (1 - abar) / (abar s^2), and its noise eps is the same one.
    """

    half: float
    middle: float

    @classmethod
    def of(cls, word: str) -> "Scale":
        """word: a key of BOUNDS."""
        low, high = BOUNDS[word]
        return cls((high - low) / 2, (high + low) / 2)

    def ours(self, abar: torch.Tensor) -> torch.Tensor:
        """abar' of images in [-1, 1]."""
        return abar / (abar + (1 - abar) / self.half**2)

    def theirs(self, x_BCHW: torch.Tensor, abar_B111: torch.Tensor) -> torch.Tensor:
        """The network's x_t of ours. abar: the network's."""
        size = self.half * (abar_B111 / self.ours(abar_B111)).sqrt()
        return size * x_BCHW + self.middle * abar_B111.sqrt()
