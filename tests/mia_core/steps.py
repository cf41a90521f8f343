"""One step of a target without a trainer."""

import torch

from mia_core.batches import Rows
from mia_core.learner import OneTraining
from mia_core.step_draws import Draws
from mia_core.streams import Streams
from mia_core.targets import Batch, mean_gradients


def batch_of(target, x, number=0, generator_learns=True, *, seed=3, fakes=5, contrast=None, units=None):
    """What step `number` is given, with the draws of `Streams(seed)`."""
    wanted = target.draws(len(x), fakes, 0 if contrast is None else len(contrast))
    draws = Draws(Streams(seed))
    return Batch(
        real=x,
        rows=Rows(torch.arange(len(x)), units),
        draws={name: draws(name, number, draw) for name, draw in wanted.items()},
        fakes=fakes,
        generator_learns=generator_learns,
        contrast=contrast,
    )


def learner_of(target, optimizers=None, rule=mean_gradients):
    networks = {name: target.get_submodule(name) for name in target.networks}
    return OneTraining(target, networks, optimizers or target.optimizers(2e-3, 0.5), rule)


def take_step(target, x, number=0, generator_learns=True, *, optimizers=None, rule=mean_gradients, **batch):
    """The scalars of its history. batch: further arguments of `batch_of`."""
    return learner_of(target, optimizers, rule).step(batch_of(target, x, number, generator_learns, **batch))
