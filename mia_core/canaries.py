"""Canaries: conspicuous records, each included in training by a fair coin, whose coins an audit tries to guess.

An audit of a private training guesses the coins of records that an attack distinguishes well; canaries are made for
that (Nasr et al. 2021, arXiv 2101.04535; Steinke et al. 2023, arXiv 2305.08846). Kinds, from weak to strong:

    noise         images of uniform random pixels, unlike any record
    mislabelled   images from an untrained target among the real records: "real" is the only label of an image
    gradient      records with a gradient coordinate each to themselves, as large as clipping allows (Dirac canaries)

Canaries are additional training records, each of a separate person. They are sampled, clipped and noised like all
others, and each coin decides about one record and one person.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import nn

from mia_core.batches import Rows
from mia_core.data.pool import to_float, to_uint8
from mia_core.defenses import TrainingFacts
from mia_core.models import Snapshot
from mia_core.persons import Persons
from mia_core.settings import Choice
from mia_core.streams import Streams
from mia_core.targets import Networks, PerRecord, RecordGradients, RecordLosses, Target
from mia_core.training import Trainer

Kind = Literal["noise", "mislabelled", "gradient"]

LENGTH = 1e6
"""Gradient norm of a gradient canary before clipping, far above any clipping bound."""


class Canaries:
    """K canaries. coins: bool [K], which are trained on. images: uint8 [K,C,H,W]; plain gray for kind `gradient`."""

    def __init__(
        self, kind: Kind, count: int, target: Choice[Target], image_shape: tuple[int, int, int], streams: Streams
    ) -> None:
        self.kind = kind
        self.coins = streams.numpy("coins").integers(0, 2, count).astype(bool)
        self.images = np.full((count, *image_shape), 128, dtype=np.uint8)
        if kind == "noise":
            self.images = streams.numpy("noise").integers(0, 256, self.images.shape, dtype=np.uint8)
        elif kind == "mislabelled":
            self.images = _untrained(target, image_shape, count, streams)

    def join(self, records: np.ndarray) -> np.ndarray:
        """uint8 [.,C,H,W]: the training records, followed by the canaries that are trained on."""
        return np.concatenate([records, self.images[self.coins]])

    def join_persons(self, persons: Persons) -> Persons:
        """The persons of the joined records."""
        return persons.with_others(int(self.coins.sum()))

    def around(self, rule: RecordGradients, target: Target, facts: TrainingFacts) -> RecordGradients:
        """The gradient rule of a training on joined records: extended for gradient canaries, else `rule` itself."""
        return _Attached(rule, target, facts.records, self.coins) if self.kind == "gradient" else rule

    def scores(self, trainer: Trainer) -> np.ndarray:
        """float32 [K], higher = more likely trained on.

        The summed noisy gradient of a canary's coordinate, or D(x), or minus the loss of targets without discriminator.
        """
        if self.kind == "gradient":
            return -trainer.target.get_parameter(f"{NETWORK}.weight").detach()[0].cpu().numpy()
        images = to_float(torch.from_numpy(self.images)).to(trainer.images.device)
        if isinstance(trainer.target, PerRecord):
            return -trainer.target.mean_losses(images, Streams("canaries")).cpu().numpy()
        return Snapshot(trainer.target, Streams()).discriminate(images).cpu().numpy()


NETWORK = "canaries"


class _Attached:
    """A `RecordGradients` that adds a network to a training's rule: one weight per canary, moved by that canary only.

    A gradient canary has no other loss than the one on its weight, whose gradient is `LENGTH`. The weights follow what
    the rule returns, noise included, by gradient descent with rate 1; nothing else depends on them.
    """

    def __init__(self, rule: RecordGradients, target: Target, records: int, coins: np.ndarray) -> None:
        """records: number of training records; the last of them are the canaries that are trained on."""
        self.rule = rule
        self.network = nn.Linear(len(coins), 1, bias=False, device=target.device)
        nn.init.zeros_(self.network.weight)
        target.add_module(NETWORK, self.network)
        trained_on = torch.from_numpy(np.flatnonzero(coins)).to(target.device)
        self.of_record = torch.full((records,), -1, device=target.device)
        self.of_record[records - len(trained_on) :] = trained_on

    def __call__(
        self, networks: Mapping[str, nn.Module], losses: RecordLosses, records: tuple[torch.Tensor, ...], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Losses [B] by network, without those of the canaries' network."""
        canary = self.of_record[rows.index.to(self.of_record.device)]
        one_hot = torch.zeros(len(canary), self.network.in_features, device=canary.device)
        one_hot[canary >= 0] = nn.functional.one_hot(canary[canary >= 0], self.network.in_features).to(one_hot.dtype)

        def both(networks: Networks, one_hot: torch.Tensor, *records: torch.Tensor) -> dict[str, torch.Tensor]:
            ordinary = 1 - one_hot.sum(1)
            terms = {name: ordinary * term for name, term in losses(networks, *records).items()}
            return {**terms, NETWORK: LENGTH * networks[NETWORK](one_hot).flatten()}

        values = self.rule({**networks, NETWORK: self.network}, both, (one_hot, *records), rows)
        gradient = self.network.weight.grad
        assert gradient is not None
        with torch.no_grad():
            self.network.weight -= gradient
        self.network.weight.grad = None
        return {name: value for name, value in values.items() if name != NETWORK}


def _untrained(target: Choice[Target], image_shape: tuple[int, int, int], count: int, streams: Streams) -> np.ndarray:
    network = target.build(image_shape)
    network.initialize(streams.child("untrained"))
    z = torch.empty(count, network.latent_dimension).normal_(generator=streams.torch("latents"))
    with torch.no_grad():
        return to_uint8(network.train().sample(z, streams.child("sampling")).clamp(-1, 1))
