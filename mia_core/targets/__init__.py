"""Targets: the generative models under attack, one architecture per file."""

from mia_core.targets.adversarial import Adversarial
from mia_core.targets.began import BEGAN
from mia_core.targets.dcgan import DCGAN
from mia_core.targets.ddpm import DDPM
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
from mia_core.targets.per_record import PerRecord
from mia_core.targets.target import TARGETS, Batch, Learner, Target, placed, shaped
from mia_core.targets.vae import VAE
from mia_core.targets.vae_gan import VAEGAN
from mia_core.targets.wgan_gp import WGANGP

__all__ = [
    "BEGAN",
    "DCGAN",
    "DDPM",
    "TARGETS",
    "VAE",
    "VAEGAN",
    "WGANGP",
    "Adversarial",
    "Batch",
    "Learner",
    "Losses",
    "Networks",
    "PerRecord",
    "RecordGradients",
    "RecordLosses",
    "Target",
    "Terms",
    "Weighted",
    "add_gradient",
    "mean_gradients",
    "placed",
    "shaped",
]
