"""Metrics: leakage of attacks, lower bounds on epsilon (audits), sample quality, and copies of members."""

from mia_core.metrics.audit import (
    Bound,
    Gaussian,
    Profile,
    claim_p_value,
    gaussian_epsilon_low,
    guess,
    heuristic,
    independent_guesses,
    independent_trainings,
    one_run,
)
from mia_core.metrics.authenticity import AUTHENTICITY
from mia_core.metrics.copies import COPIES, Copies, find_copies
from mia_core.metrics.extraction import EXTRACTION
from mia_core.metrics.extractor import Extractor, ExtractorConfig
from mia_core.metrics.leakage import Leakage, judge, roc
from mia_core.metrics.quality import MEASURES, Prdc, frechet_distance, kernel_distance, measure, prdc
from mia_core.metrics.synthetic_training import SYNTHETIC

__all__ = [
    "AUTHENTICITY",
    "COPIES",
    "EXTRACTION",
    "MEASURES",
    "SYNTHETIC",
    "Bound",
    "Copies",
    "Extractor",
    "ExtractorConfig",
    "Gaussian",
    "Leakage",
    "Prdc",
    "Profile",
    "claim_p_value",
    "find_copies",
    "frechet_distance",
    "gaussian_epsilon_low",
    "guess",
    "heuristic",
    "independent_guesses",
    "independent_trainings",
    "judge",
    "kernel_distance",
    "measure",
    "one_run",
    "prdc",
    "roc",
]
