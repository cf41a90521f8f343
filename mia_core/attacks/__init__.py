"""Attacks, one a file. A score is always higher = more likely a member."""

from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Result, Scores
from mia_core.attacks.discriminative import Discriminative
from mia_core.attacks.euclidean import Euclidean
from mia_core.attacks.local_gan import LocalGAN
from mia_core.attacks.random_guess import Random
from mia_core.attacks.white_box import WhiteBox

__all__ = [
    "ATTACKS",
    "Attack",
    "Discriminative",
    "Euclidean",
    "Knowledge",
    "LocalGAN",
    "Random",
    "Result",
    "Scores",
    "WhiteBox",
]
