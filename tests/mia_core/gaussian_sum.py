"""A mechanism of known epsilon: the sum of the included records' unit vectors, plus N(0, 1/mu^2) in every direction.

Adding or removing one record moves the sum by 1, so that every record's trade-off curve is that of Gaussian(mu).
"""

import numpy as np
from scipy.optimize import brentq

from mia_core.metrics.audit import Gaussian, guess


def mu_at(epsilon: float, delta: float) -> float:
    """The mu that has this epsilon at delta."""
    return float(brentq(lambda mu: Gaussian(mu).epsilon(delta) - epsilon, 1e-3, 100))


def correct_guesses(
    mu: float, coins: int, guesses: int, runs: int, random: np.random.Generator, dimension: int | None = None
) -> np.ndarray:
    """How many of the guesses are right in each of so many runs, int [runs].

    The vectors are orthogonal, and each record's score is its own coordinate of the sum; with a dimension they are
    random ones in so many dimensions, and the scores, now dependent, the best linear estimate of the coins.
    """
    coin = random.random((runs, coins)) < 0.5
    if dimension is None:
        score = coin + random.normal(size=coin.shape) / mu
    else:
        vectors = random.normal(size=(coins, dimension))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        released = (coin - 0.5) @ vectors + random.normal(size=(runs, dimension)) / mu
        covariance = vectors.T @ vectors / 4 + np.eye(dimension) / mu**2
        score = np.linalg.solve(covariance, released.T).T @ vectors.T
    return np.array([guess(s, c, guesses, random) for s, c in zip(score, coin, strict=True)])
