"""Targets: the generative models under attack, one architecture a file."""

from mia_core.targets.began import BEGAN
from mia_core.targets.dcgan import DCGAN
from mia_core.targets.target import (
    TARGETS,
    Networks,
    RecordGradients,
    RecordLosses,
    Step,
    Target,
    add_gradient,
    add_gradients,
    mean_gradients,
    placed,
)
from mia_core.targets.vae_gan import VAEGAN
from mia_core.targets.wgan_gp import WGANGP

__all__ = [
    "BEGAN",
    "DCGAN",
    "TARGETS",
    "VAEGAN",
    "WGANGP",
    "Networks",
    "RecordGradients",
    "RecordLosses",
    "Step",
    "Target",
    "add_gradient",
    "add_gradients",
    "mean_gradients",
    "placed",
]
