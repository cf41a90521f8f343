"""A target that only waits, so that what a study spends on a trial besides its work can be seen."""

import os
import time
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge
from torch import nn

from mia_core.settings import settings
from mia_core.step_draws import Draw
from mia_core.streams import Streams
from mia_core.targets import TARGETS, Adversarial, Batch, Learner

LATENT = 4


def work(seconds: float, log: str) -> None:
    """Wait, and add a line to a file that many processes write to: when it began and ended, in Unix seconds."""
    begun = time.time()
    time.sleep(seconds)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{begun} {time.time()}\n".encode())
    os.close(descriptor)


def times(log: Path) -> list[tuple[float, float]]:
    """Begin and end of each piece of work, by begin."""
    lines = log.read_text().splitlines() if log.exists() else []
    return sorted((float(begun), float(ended)) for begun, ended in map(str.split, lines))


@TARGETS.register
class Waiting(Adversarial):
    """One step of it waits; networks of a few weights are attacked, kept and drawn from as any others."""

    name = "waiting"
    networks = ("discriminator",)
    latent_dimension = LATENT

    @settings
    class Config:
        """seconds: of a step. log: where it says when it waited."""

        seconds: Annotated[float, Ge(0)]
        log: str

    config: Config

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        super().__init__(config, image_shape)
        pixels = image_shape[0] * image_shape[1] * image_shape[2]
        self.generator = nn.Sequential(nn.Linear(LATENT, pixels), nn.Tanh(), nn.Unflatten(1, image_shape))
        self.discriminator = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 1))

    def initialize(self, streams: Streams) -> None:
        """Normal weights."""
        random = streams.torch("weights")
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.1, generator=random)

    def optimizer(
        self, parameters: list[nn.Parameter], learning_rate: float, beta1: float | None
    ) -> torch.optim.Optimizer:
        """One, which is never asked to step."""
        return torch.optim.SGD(parameters, learning_rate)

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """None."""
        return {}

    def step(self, learner: Learner, batch: Batch) -> None:
        """Wait."""
        work(self.config.seconds, self.config.log)
        learner.report(loss_discriminator=self.discriminate(batch.real).detach().mean())
