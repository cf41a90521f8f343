"""Attacks, one a file. A score is always higher = more likely a member."""

from mia_core.attacks.attack import ATTACKS, RECORDS, Attack, Knowledge, Result, Scores
from mia_core.attacks.by_capability import attacks_on
from mia_core.attacks.diffusion_loss import DiffusionLoss
from mia_core.attacks.discriminative import Discriminative
from mia_core.attacks.domias import Domias
from mia_core.attacks.elbo import Elbo
from mia_core.attacks.euclidean import Euclidean
from mia_core.attacks.gen_lra import GenLRA
from mia_core.attacks.generator import Generator
from mia_core.attacks.gradient_norms import GradientNorms
from mia_core.attacks.known_gradients import KnownGradients
from mia_core.attacks.latent import Latent
from mia_core.attacks.local_gan import LocalGAN
from mia_core.attacks.monte_carlo import MonteCarlo
from mia_core.attacks.nearest import Nearest
from mia_core.attacks.pfami import PFAMI
from mia_core.attacks.pfami_vae import VaePFAMI
from mia_core.attacks.pia import PIA
from mia_core.attacks.pian import PIAN
from mia_core.attacks.random_guess import Random
from mia_core.attacks.rediffuse import ReDiffuse
from mia_core.attacks.secmi import SecMI
from mia_core.attacks.shared import Shared
from mia_core.attacks.sima import SimA
from mia_core.attacks.vae_reconstruction import VaeReconstruction
from mia_core.attacks.white_box import WhiteBox

__all__ = [
    "ATTACKS",
    "PFAMI",
    "PIA",
    "PIAN",
    "RECORDS",
    "Attack",
    "DiffusionLoss",
    "Discriminative",
    "Domias",
    "Elbo",
    "Euclidean",
    "GenLRA",
    "Generator",
    "GradientNorms",
    "Knowledge",
    "KnownGradients",
    "Latent",
    "LocalGAN",
    "MonteCarlo",
    "Nearest",
    "Random",
    "ReDiffuse",
    "Result",
    "Scores",
    "SecMI",
    "Shared",
    "SimA",
    "VaePFAMI",
    "VaeReconstruction",
    "WhiteBox",
    "attacks_on",
]
