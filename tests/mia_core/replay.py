"""A target that copies, and records for it."""

import torch

from mia_core.streams import Streams
from mia_core.targets import Target


class Replay(Target):
    """A sampler that replays one of its records with probability p, and else makes a fresh one of the same law."""

    name = "replay"
    offers = frozenset({"samples", "latent", "generator"})
    networks = private = ()

    def __init__(self, records, p):
        super().__init__(None, tuple(records.shape[1:]))
        self.register_buffer("records", records)
        self.p = p
        self.latent_dimension = 1 + records[0].numel()

    def initialize(self, streams):
        raise AssertionError("has no weights")

    def generate(self, z_BZ):
        uniform = torch.special.ndtr(z_BZ[:, 0].double())
        index = (uniform / self.p * len(self.records)).long().clamp(max=len(self.records) - 1)
        fresh = z_BZ[:, 1:].tanh().reshape(-1, *self.image_shape)
        return torch.where((uniform < self.p)[:, None, None, None], self.records[index], fresh)

    def discriminate(self, x_BCHW):
        raise AssertionError("has no discriminator")

    def draws(self, records, fakes, contrast):
        raise AssertionError("does not train")

    step = draws

    @property
    def device(self):
        return self.records.device


def images_of_the_law(count, seed, size=4):
    return torch.randn(count, 1, size, size, generator=Streams(seed).torch("images")).tanh()
