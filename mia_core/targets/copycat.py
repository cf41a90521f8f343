"""The copycat control: a `generator` that replays its training set. What a sample-based attack finds here is known."""

from typing import Any

import numpy as np
import torch

from mia_core.data.pool import to_float
from mia_core.settings import settings
from mia_core.step_draws import Draw
from mia_core.streams import Streams
from mia_core.targets.target import Batch, Learner, Target


class Copycat(Target):
    """Every sample is a training record, all equally likely; nothing is trained, and samples are all it offers.

    Not in the registry: a control is no target to study.
    """

    name = "copycat"
    offers = frozenset()
    networks = private = ()
    latent_dimension = 1

    @settings
    class Config:
        """Nothing to set."""

    records: torch.Tensor

    def __init__(self, config: Any, records: np.ndarray) -> None:
        """records: uint8 [n,C,H,W], the training set."""
        _, channels, height, width = records.shape
        super().__init__(config, (channels, height, width))
        self.register_buffer("records", torch.from_numpy(np.ascontiguousarray(records)))

    def initialize(self, streams: Streams) -> None:
        """Nothing to draw."""

    def generate(self, z_BZ: torch.Tensor) -> torch.Tensor:
        """Record number floor(n Phi(z)): uniform over the records when z is standard normal."""
        count = len(self.records)
        index = (torch.special.ndtr(z_BZ[:, 0].double()) * count).long().clamp(max=count - 1)
        return to_float(self.records[index])

    def discriminate(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """ValueError: there is no discriminator."""
        raise ValueError("copycat has no discriminator")

    def draws(self, records: int, fakes: int, contrast: int) -> dict[str, Draw]:
        """ValueError: there is nothing to train."""
        raise ValueError("copycat is not trained")

    def step(self, learner: Learner, batch: Batch) -> None:
        """ValueError: there is nothing to train."""
        raise ValueError("copycat is not trained")

    @property
    def device(self) -> torch.device:
        """Where the records are."""
        return self.records.device
