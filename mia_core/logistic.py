"""Logistic regression on standardized features, for attacks and measures that learn from labelled rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Logistic:
    """A fitted classifier. mean, scale [F]: of the rows that it was fitted on, and of no others."""

    mean: np.ndarray
    scale: np.ndarray
    model: Any

    @classmethod
    def fit(cls, features: np.ndarray, label: np.ndarray) -> "Logistic":
        """Of rows [N,F] with labels [N], two at least, by scikit-learn with its L2 penalty of 1."""
        from sklearn.linear_model import LogisticRegression  # a second to import, which few processes need

        scale = features.std(0)
        found = cls(features.mean(0), np.where(scale > 0, scale, 1.0), LogisticRegression(max_iter=1000))
        found.model.fit(found._standardized(features), label)
        return found

    def log_odds(self, features: np.ndarray) -> np.ndarray:
        """Of the second of two labels, [N], of rows [N,F]."""
        values: np.ndarray = self.model.decision_function(self._standardized(features))
        return values

    def labels(self, features: np.ndarray) -> np.ndarray:
        """The likeliest label, [N], of rows [N,F]."""
        values: np.ndarray = self.model.predict(self._standardized(features))
        return values

    def _standardized(self, features: np.ndarray) -> np.ndarray:
        standardized: np.ndarray = (features - self.mean) / self.scale
        return standardized
