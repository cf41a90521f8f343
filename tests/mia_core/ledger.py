"""A target that only notes what its steps are given, and arms and trainers for the tests of the training loop."""

import numpy as np
import torch
from torch import nn

from mia_core.defenses import Arm
from mia_core.step_draws import normal
from mia_core.streams import Streams
from mia_core.targets import Target
from mia_core.training import Trainer, TrainingConfig
from mia_core.training_records import Records

DP = {"name": "dp_sgd", "sigma": 1.0, "clip": 1.0, "delta": 1e-3}
AIMED = {"name": "dp_sgd", "target_epsilon": 8.0, "clip": 1.0, "delta": 1e-3}
END = 10  # three epochs of 13 records in batches of 4, which end after 4, 7 and 10 steps


class Ledger(Target):
    """Learns nothing, and notes which records each step sees; record i is an image of value i."""

    name = "ledger"
    offers = frozenset()
    networks = private = ()
    latent_dimension = 8

    def __init__(self):
        super().__init__(None, (1, 8, 8))
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []
        self.steps = []

    def initialize(self, streams):
        self.weight.data.normal_(generator=streams.torch("weights"))

    def generate(self, z_BZ):
        raise AssertionError("not asked")

    def draws(self, records, fakes, contrast):
        return {"latent": normal(fakes, self.latent_dimension)}

    def step(self, learner, batch):
        assert self.training
        learner.report(d_fake=torch.tensor(float(len(self.steps))))
        self.seen.append(((batch.real[:, 0, 0, 0] + 1) * 127.5).round().int().tolist())
        self.steps.append(batch)


def ledger(count, train_size=None, batch_size=5, arm="none", seed=1, generator_every=1, key=bytes(32)):
    images = np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 8, 8))
    config = TrainingConfig(batch_size=batch_size, generator_every=generator_every)
    return Trainer(Ledger(), Records(images, train_size or count), config, Arm.parse(arm), Streams(seed), key)
