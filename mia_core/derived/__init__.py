"""Derived attacks, one a file: computed from scores of other attacks and of other trainings. They train nothing."""

from mia_core.derived.best_on_shadows import BestOnShadows
from mia_core.derived.by_person import PersonMaximum, PersonSum
from mia_core.derived.calibrated import Calibrated
from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.ensemble import Ensemble
from mia_core.derived.evidence import Evidence
from mia_core.derived.lira import Lira
from mia_core.derived.quantile_regression import QuantileRegression
from mia_core.derived.rmia import Rmia
from mia_core.derived.shadow_classifier import ShadowClassifier

__all__ = [
    "DERIVED",
    "BestOnShadows",
    "Calibrated",
    "DerivedAttack",
    "Ensemble",
    "Evidence",
    "Lira",
    "PersonMaximum",
    "PersonSum",
    "QuantileRegression",
    "Rmia",
    "ShadowClassifier",
]
