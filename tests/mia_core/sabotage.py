"""DP-SGD as it should be and as it is when somebody got it wrong, each trained once with gradient canaries.

The mistakes are put in place of the project's own code, and everything else (sampling, networks, accounting, canaries)
is the project's. What is claimed is always what the accountant says of the settings.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import torch

from mia_core.canaries import Canaries
from mia_core.defenses import Arm, dp_sgd
from mia_core.defenses.dp_sgd import DPSGD, PrivateGradients
from mia_core.streams import Streams
from mia_core.targets import TARGETS
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records

SIGMA, CLIP, DELTA = 3.0, 0.5, 1e-5
RECORDS, BATCH, STEPS, COUNT = 40, 10, 100, 1000
TARGET = {"name": "dcgan", "width": 2, "latent": 2}
SHAPE = (1, 8, 8)


def clip_the_mean(networks, losses, records, clip, units=None):
    """Clips the mean gradient of the batch, to `clip`, instead of each record's."""
    values = losses(networks, *records)
    count = max(1, len(records[0]))
    owned = {name: list(networks[name].parameters()) for name in values if name in networks}
    means = {
        name: torch.autograd.grad(values[name].sum() / count, parameters, retain_graph=True)
        for name, parameters in owned.items()
    }
    norm = torch.cat([part.flatten() for parts in means.values() for part in parts]).norm()
    factor = float(clip / norm) if norm > clip else 1.0
    sums = {name: [count * factor * part for part in parts] for name, parts in means.items()}
    return sums, {name: value.detach() for name, value in values.items()}


class NoiseOfTheMean(PrivateGradients):
    """Adds the noise that belongs to the mean, sigma C / B, to the sum."""

    def __call__(self, networks, losses, records, rows):
        honest, self.sigma = self.sigma, self.sigma / self.expected_batch
        try:
            return super().__call__(networks, losses, records, rows)
        finally:
            self.sigma = honest


def twice_as_often(self, facts, batches=DPSGD.batches):
    """Samples each record at twice the rate the accountant is told."""
    told = batches(self, facts)
    return dataclasses.replace(told, rate=2 * told.rate)


@contextmanager
def honest() -> Iterator[None]:
    yield


SABOTAGE = {
    "honest": honest,
    "clips the batch mean": lambda: patch.object(dp_sgd, "clipped_sums", clip_the_mean),
    "noise sigma C / B on the sum": lambda: patch.object(dp_sgd, "PrivateGradients", NoiseOfTheMean),
    "half of the sampling rate accounted": lambda: patch.object(DPSGD, "batches", twice_as_often),
}


def train(name: str, seed: int, kind: str = "gradient", target: dict = TARGET) -> tuple[np.ndarray, np.ndarray]:
    """Scores [K] of canaries and their coins [K] after one training."""
    records = np.random.default_rng(seed).integers(0, 256, (RECORDS, *SHAPE), dtype=np.uint8)
    choice = TARGETS.choose(target)
    canaries = Canaries(kind, COUNT, choice, SHAPE, Streams("canaries", seed))
    with SABOTAGE[name]():
        trainer = Trainer(
            choice.build(SHAPE),
            Records(canaries.join(records), RECORDS),
            TrainingConfig(batch_size=BATCH),
            Arm.parse({"name": "dp_sgd", "sigma": SIGMA, "clip": CLIP, "delta": DELTA}),
            Streams("training", seed),
            seed.to_bytes(32, "big"),
            around=canaries.around,
        )
        trainer.run_to(STEPS)
    return canaries.scores(trainer), canaries.coins
