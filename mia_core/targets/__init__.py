"""Targets: the generative models under attack, one architecture a file."""

from mia_core.targets.base import TARGETS, RecordGradients, RecordLosses, Step, Target, mean_gradients
from mia_core.targets.copycat import Copycat
from mia_core.targets.dcgan import DCGAN

__all__ = ["DCGAN", "TARGETS", "Copycat", "RecordGradients", "RecordLosses", "Step", "Target", "mean_gradients"]
