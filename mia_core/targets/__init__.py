"""Targets: the generative models under attack, one architecture per file."""

from mia_core.targets.adversarial import Adversarial
from mia_core.targets.began import BEGAN
from mia_core.targets.dcgan import DCGAN
from mia_core.targets.gradients import (
    Losses,
    Networks,
    RecordGradients,
    RecordLosses,
    Terms,
    Weighted,
    add_gradient,
    mean_gradients,
)
from mia_core.targets.target import TARGETS, Batch, Learner, Target, placed
from mia_core.targets.vae_gan import VAEGAN
from mia_core.targets.wgan_gp import WGANGP

__all__ = [
    "BEGAN",
    "DCGAN",
    "TARGETS",
    "VAEGAN",
    "WGANGP",
    "Adversarial",
    "Batch",
    "Learner",
    "Losses",
    "Networks",
    "RecordGradients",
    "RecordLosses",
    "Target",
    "Terms",
    "Weighted",
    "add_gradient",
    "mean_gradients",
    "placed",
]
