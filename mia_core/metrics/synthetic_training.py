"""Accuracy on real records of a classifier that was trained on samples: whether they teach what records teach.

The models of a study are unconditional, so samples have no labels: a classifier of the study's features, fitted on
labelled reference records, gives them theirs (Ravuri & Vinyals 2019 have labels to condition on).
"""

import numpy as np

from mia_core.logistic import Logistic

VERSIONS = {"synthetic_accuracy": 1}
"""Of the measure's values; a change that alters them raises it."""
SYNTHETIC = tuple(VERSIONS)


def synthetic_accuracy(
    teacher_RF: np.ndarray,
    labels_R: np.ndarray,
    features_MF: np.ndarray,
    samples_MD: np.ndarray,
    unseen_UD: np.ndarray,
    labels_U: np.ndarray,
) -> float | None:
    """The share in [0, 1] of unseen real records that a logistic regression on pixels labels rightly, after samples.

    teacher: features of labelled reference records, of which a logistic regression labels the samples by theirs;
    samples, unseen: pixels. What real records would teach is a ceiling that the teacher's own mistakes lower. None if
    all samples get one label.
    """
    guessed = Logistic.fit(teacher_RF, labels_R).labels(features_MF)
    if len(np.unique(guessed)) < 2:
        return None
    return float((Logistic.fit(samples_MD, guessed).labels(unseen_UD) == labels_U).mean())
