"""Attacks, one a file. A score is always higher = more likely a member."""

from mia_core.attacks.attack import ATTACKS, RECORDS, Attack, Knowledge, Result, Scores
from mia_core.attacks.by_capability import attacks_on
from mia_core.attacks.discriminative import Discriminative
from mia_core.attacks.domias import Domias
from mia_core.attacks.euclidean import Euclidean
from mia_core.attacks.gen_lra import GenLRA
from mia_core.attacks.generator import Generator
from mia_core.attacks.latent import Latent
from mia_core.attacks.local_gan import LocalGAN
from mia_core.attacks.monte_carlo import MonteCarlo
from mia_core.attacks.nearest import Nearest
from mia_core.attacks.random_guess import Random
from mia_core.attacks.shared import Shared
from mia_core.attacks.white_box import WhiteBox

__all__ = [
    "ATTACKS",
    "RECORDS",
    "Attack",
    "Discriminative",
    "Domias",
    "Euclidean",
    "GenLRA",
    "Generator",
    "Knowledge",
    "Latent",
    "LocalGAN",
    "MonteCarlo",
    "Nearest",
    "Random",
    "Result",
    "Scores",
    "Shared",
    "WhiteBox",
    "attacks_on",
]
