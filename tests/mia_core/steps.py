"""One step of a target without a trainer."""

import torch

from mia_core.batches import Rows
from mia_core.data.pool import to_float
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


def floats(images):
    """uint8 images as a target sees them."""
    return to_float(torch.from_numpy(images))


def sgd(target):
    """Plain gradient descent for each of a target's networks."""
    return {name: torch.optim.SGD(target.get_submodule(name).parameters(), 0.1) for name in target.networks}


def grads(target, name):
    """Gradients of a network's parameters as they are now; None where there is none."""
    return [None if p.grad is None else p.grad.clone() for p in target.get_submodule(name).parameters()]


def same_grads(a, b):
    """Whether `grads` are equal to the bit."""
    return all((x is None and y is None) or torch.equal(x, y) for x, y in zip(a, b, strict=True))
