"""How an attack is judged (leakage) and how good samples are (quality)."""

from mia_core.metrics.extractor import Extractor, ExtractorConfig
from mia_core.metrics.leakage import Leakage, delong_interval, judge, roc
from mia_core.metrics.quality import MEASURES, Prdc, frechet_distance, kernel_distance, measure, prdc

__all__ = [
    "MEASURES",
    "Extractor",
    "ExtractorConfig",
    "Leakage",
    "Prdc",
    "delong_interval",
    "frechet_distance",
    "judge",
    "kernel_distance",
    "measure",
    "prdc",
    "roc",
]
