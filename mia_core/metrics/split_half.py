"""Whether the same records would be at risk in new replicates: agreement between halves of the replicates."""

from dataclasses import dataclass

import numpy as np

SPLITS, RESAMPLES = 50, 500


@dataclass(frozen=True)
class SplitHalf:
    """half: mean correlation of the differences of two halves.

    reliability: of two whole sets of replicates (Spearman & Brown), 0 for pure noise and 1 for no noise. low, high: its
    95 % limits over resampled records.
    """

    half: float
    reliability: float
    low: float
    high: float


def split_half(score: np.ndarray, member: np.ndarray, random: np.random.Generator) -> SplitHalf:
    """From scores and members, bool, [J, R]; every record has at least two replicates on each side.

    Each record's replicates as member, and as non-member, are halved at random SPLITS times.
    """
    first, second = np.empty((2, SPLITS, len(score)))
    sides = [member, ~member]
    for number in range(SPLITS):
        order = random.random(score.shape)
        halves = np.zeros((2, len(score)))
        for sign, side in zip((1.0, -1.0), sides, strict=True):
            place = np.where(side, order, np.inf).argsort(1).argsort(1)
            size = side.sum(1, keepdims=True) // 2
            for which in (0, 1):
                chosen = (place >= which * size) & (place < (which + 1) * size)
                halves[which] += sign * (score * chosen).sum(1) / size[:, 0]
        first[number], second[number] = halves
    halved, whole = (sum(float((1 / (side.sum(1) // part)).mean()) for side in sides) for part in (2, 1))
    more = halved / whole

    def of(which: np.ndarray) -> tuple[float, float]:
        one, other = first[:, which], second[:, which]
        one, other = one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
        half = float(((one * other).sum(1) / np.sqrt((one**2).sum(1) * (other**2).sum(1))).mean())
        return half, more * half / (1 + (more - 1) * half)

    draws = [of(random.integers(0, len(score), len(score)))[1] for _ in range(RESAMPLES)]
    half, found = of(np.arange(len(score)))
    return SplitHalf(half, found, float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975)))
