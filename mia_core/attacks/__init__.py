"""Attacks, one a file. A score is always higher = more likely a member."""

from mia_core.attacks.base import ATTACKS, Attack, Knowledge, Result, Scores
from mia_core.attacks.euclidean import Euclidean
from mia_core.attacks.local_gan import LocalGAN
from mia_core.attacks.white_box import WhiteBox

__all__ = ["ATTACKS", "Attack", "Euclidean", "Knowledge", "LocalGAN", "Result", "Scores", "WhiteBox"]
