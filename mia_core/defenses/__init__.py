"""Defenses, one per file, and arms: combinations of defenses that a study compares."""

from mia_core.defenses.arm import Arm, labels, labels_of
from mia_core.defenses.augmentation import Augmentation
from mia_core.defenses.defense import DEFENSES, Defense, RandomLayer, TrainingFacts
from mia_core.defenses.dp_sgd import DPSGD
from mia_core.defenses.dropout import Dropout
from mia_core.defenses.noise_layer import NoiseLayer
from mia_core.defenses.private_defense import PrivateDefense
from mia_core.defenses.real_weight import RealWeight
from mia_core.defenses.weight_norm import WeightNorm

__all__ = [
    "DEFENSES",
    "DPSGD",
    "Arm",
    "Augmentation",
    "Defense",
    "Dropout",
    "NoiseLayer",
    "PrivateDefense",
    "RandomLayer",
    "RealWeight",
    "TrainingFacts",
    "WeightNorm",
    "labels",
    "labels_of",
]
