"""Scores as they are judged: float32, in which a store keeps them."""

import numpy as np


def float32_scores(name: str, score: np.ndarray, side: np.ndarray, sides: str) -> np.ndarray:
    """Scores [Q] in float32. side: bool [Q], the members or coins, as `sides` calls them. name: who asks.

    ValueError unless shapes and types agree and all scores are finite.
    """
    if score.shape != side.shape or score.ndim != 1 or side.dtype != np.bool_:
        raise ValueError(f"{name}: scores {score.shape} and {sides} {side.shape} {side.dtype} do not match")
    with np.errstate(over="ignore"):
        score = score.astype(np.float32)
    if not np.isfinite(score).all():
        raise ValueError(f"{name}: scores must be finite in float32")
    return score
