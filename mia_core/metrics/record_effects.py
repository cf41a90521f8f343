"""The effect of membership on one record's score: estimate, exact p-value, and the share of records that leak.

Shapes: scores [J, R] and members, bool [J, R], of J records in R replicates; each record has independent coins.
Differences are noisy, since few replicates say little about one record: `shrunk` shrinks them toward their mean, with
intervals that cover on average over records for any distribution of effects. `coin_p_values` assumes no distribution at
all.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import digamma, ndtr, ndtri, polygamma
from scipy.stats import t as student

from mia_core.metrics.redraw import ROUNDING
from mia_core.metrics.two_way import two_way_variance

MOST_PATTERNS = 2**14
"""The coins of up to 14 replicates are enumerated; for more replicates, this many are drawn."""
LAMBDA = 0.5
"""Storey's lambda: p-values above it are attributed to records that do not leak."""
LEVEL = 0.95


@dataclass(frozen=True)
class Differences:
    """Mean score IN minus mean score OUT, [K], of the records that were both.

    both: bool [J], which records these are. members, non_members [K]: numbers of replicates IN and OUT. error [K]:
    standard error, from moderated variances with `freedom` [K] degrees of freedom; NaN if nothing varied.
    mean_variance: of the mean difference over all records, between replicates and records (two-way).
    """

    both: np.ndarray
    members: np.ndarray
    non_members: np.ndarray
    difference: np.ndarray
    error: np.ndarray
    freedom: np.ndarray
    mean_variance: float


def differences(scores: np.ndarray, member: np.ndarray) -> Differences:
    """From scores [J, R] and member bool [J, R]. ValueError unless R >= 3, which the noise within a side requires."""
    if scores.shape != member.shape or scores.ndim != 2 or scores.shape[1] < 3:
        raise ValueError(f"differences: needs scores and members [J, R] of 3 replicates, got {scores.shape}")
    both = np.asarray(member.any(1) & ~member.all(1))
    scores, member = scores[both], member[both]
    sides = [member, ~member]
    counts = [side.sum(1) for side in sides]
    means = [(scores * side).sum(1) / count for side, count in zip(sides, counts, strict=True)]
    squares = sum((((scores - mean[:, None]) * side) ** 2).sum(1) for side, mean in zip(sides, means, strict=True))
    freedom = np.full(len(scores), scores.shape[1] - 2.0)
    variance, total = moderated(np.asarray(squares) / freedom, freedom)
    difference = means[0] - means[1]
    error = np.sqrt(variance * (1 / counts[0] + 1 / counts[1]))
    return Differences(both, counts[0], counts[1], difference, error, total, _mean_variance(scores, member))


def _mean_variance(scores: np.ndarray, member: np.ndarray) -> float:
    """Variance of the mean difference within replicates; NaN for under two records, or replicates with both sides."""
    usable = member.any(0) & ~member.all(0)
    if usable.sum() < 2 or len(scores) < 2:
        return float("nan")
    gap, influence = mean_gaps(scores[:, usable].T, member[:, usable].T)
    return float(two_way_variance(gap, influence).total)


def mean_gaps(scores: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean score IN minus mean score OUT in each replicate, [R], and every record's influence on it, [R, J].

    scores, members [R, J]: both kinds in every replicate. Influences sum to 0, and are for `two_way_variance`. Those of
    a side of k records are multiplied by (k / (k - 1))^.5, to correct for the estimated mean of that side.
    """
    found, influence = np.zeros(len(scores)), np.zeros(scores.shape)
    for sign, side in ((1.0, member), (-1.0, ~member)):
        count = side.sum(1, keepdims=True)
        mean = (scores * side).sum(1, keepdims=True) / count
        found += sign * mean[:, 0]
        influence += (
            sign * (scores - mean) * side * (scores.shape[1] / count) * np.sqrt(count / np.maximum(count - 1, 1))
        )
    return found, influence


def moderated(variance: np.ndarray, freedom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variances [K] shrunk toward a scaled inverse chi-square prior fitted to them, and their degrees of freedom [K].

    Smyth (2004), section 6.2: with few replicates some variances are small by chance, and their records would look
    certain. If variances differ no more than by chance, they are pooled. NaN if fewer than two are above 0.
    """
    known = variance > 0
    if known.sum() < 2:
        return np.full(len(variance), np.nan), freedom
    half = freedom[known] / 2
    logs = np.log(variance[known]) - digamma(half) + np.log(half)
    excess = logs.var(ddof=1) - polygamma(1, half).mean()
    if excess <= 0:
        pooled = float((variance * freedom).sum() / freedom.sum())
        return np.full(len(variance), pooled), np.full(len(variance), float(freedom.sum()))
    prior = 2 * _inverse_trigamma(excess)
    center = np.exp(logs.mean() + digamma(prior / 2) - np.log(prior / 2))
    total = freedom + prior
    return (freedom * variance + prior * center) / total, np.minimum(total, freedom.sum())


def _inverse_trigamma(value: float) -> float:
    low, high = 1e-8, 1e8
    for _ in range(200):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if polygamma(1, middle) > value else (low, middle)
    return (low * high) ** 0.5


def shrunk(found: Differences) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Differences [K] shrunk toward their mean, and 95 % limits, [K] each.

    The prior's variance is what the differences vary beyond their errors (DerSimonian & Laird 1986), and at least what
    chance could hide. The limits contain 95 % of the records' true differences, on average over records and studies,
    for any distribution with this variance (Armstrong, Kolesar & Plagborg-Moller 2022), and include the error of the
    mean. For single records the coverage may be lower, as it is for the few largest differences.
    """
    difference, variance = found.difference, found.error**2
    if len(difference) < 2 or not np.isfinite(variance).all():
        unknown = np.full(len(difference), np.nan)
        return unknown, unknown, unknown
    weight = 1 / variance
    mean = (weight * difference).sum() / weight.sum()
    beyond = (weight * (difference - mean) ** 2).sum() - (len(difference) - 1)
    spread = max(2 / weight.sum(), beyond / (weight.sum() - (weight**2).sum() / weight.sum()))
    weight = 1 / (variance + spread)
    share = weight / weight.sum()
    mean = (share * difference).sum()
    kept = spread / (spread + variance)
    noise = kept**2 * variance + (1 - kept) ** 2 * found.mean_variance + 2 * kept * (1 - kept) * share * variance
    # The ratio of a t interval to a normal one, since the errors are estimated.
    wider = student.isf((1 - LEVEL) / 2, found.freedom) / ndtri((1 + LEVEL) / 2)
    half = wider * robust_quantile((1 - kept) ** 2 * spread / noise) * np.sqrt(noise)
    center = mean + kept * (difference - mean)
    return center, center - half, center + half


def robust_quantile(bias: np.ndarray) -> np.ndarray:
    """c such that P(|Z + b| > c) is at most 5 % for Z ~ N(0, 1) and any random b with mean square `bias` [K]."""
    at, quantile = _robust_quantiles()
    inside = np.exp(np.interp(np.log(np.clip(bias, at[0], at[-1])), np.log(at), np.log(quantile)))
    return np.where(bias > at[-1], np.sqrt((1 + bias) / (1 - LEVEL)), inside)


@cache
def _robust_quantiles() -> tuple[np.ndarray, np.ndarray]:
    """Mean squares of b, and c for each."""
    alpha = 1 - LEVEL
    at = np.geomspace(1e-4, 1e4, 81)
    found = [brentq(lambda c, m=m: _most_outside(m, c) - alpha, -ndtri(alpha / 2) - 1e-6, ((1 + m) / alpha) ** 0.5)
             for m in at]  # fmt: skip
    return at, np.array(found)


def _most_outside(mean_square: float, c: float) -> float:
    """The maximal P(|Z + b| > c): b^2 is one value, or either 0 or the value where a tangent from 0 touches."""
    squares = np.concatenate([[1e-9], np.linspace(1e-3, c + 6, 2000) ** 2])
    none = 2 * ndtr(-c)
    outside = ndtr(-c - np.sqrt(squares)) + ndtr(-c + np.sqrt(squares))
    slope = (outside - none) / squares
    touch = int(slope.argmax())
    if mean_square < squares[touch]:
        return float(none + mean_square * slope[touch])
    return float(ndtr(-c - mean_square**0.5) + ndtr(-c + mean_square**0.5))


def coin_p_values(
    scores: np.ndarray, member: np.ndarray, probability: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One-sided p [J] of no effect of a record's membership, and P [J] of a strictly higher statistic.

    Each record's coins, independent with `probability`, are drawn again over its scores [R], so p is exact for any
    scores and number of replicates; with R fair coins it is at least 1 / (2^R - 2). The statistic is (mean IN - mean
    OUT) / sqrt(1 / IN + 1 / OUT), which orders coins as the t of the two sides does. NaN for records that were IN, or
    OUT, in every replicate; such coins are not drawn.
    """
    replicates = scores.shape[1]
    if 2**replicates <= MOST_PATTERNS:
        patterns = (np.arange(2**replicates)[:, None] >> np.arange(replicates)) & 1 == 1
    else:
        patterns = random.random((MOST_PATTERNS, replicates)) < probability
    patterns = patterns[patterns.any(1) & ~patterns.all(1)]
    inside = patterns.sum(1)
    own = 0.0
    if 2**replicates <= MOST_PATTERNS:
        weight = probability**inside * (1 - probability) ** (replicates - inside)
        weight = weight / weight.sum()
    else:
        own = 1 / (1 + len(patterns))  # the study's coins count as one of those drawn
        weight = np.full(len(patterns), own)
    patterns = patterns / np.sqrt(inside * (replicates - inside))[:, None]
    centered = scores - scores.mean(1, keepdims=True)
    length = np.sqrt((centered**2).sum(1, keepdims=True))
    centered = np.divide(centered, length, out=np.zeros_like(centered), where=length > 0)  # ROUNDING is for length 1
    p, higher = np.full((2, len(scores)), np.nan)
    count = member.sum(1)
    for record in np.flatnonzero((count > 0) & (count < replicates)):
        statistic = centered[record] @ member[record] / np.sqrt(count[record] * (replicates - count[record]))
        redrawn = patterns @ centered[record]
        p[record] = own + weight[redrawn >= statistic - ROUNDING].sum()
        higher[record] = weight[redrawn > statistic + ROUNDING].sum()
    return np.minimum(p, 1), higher


def least_p(replicates: int, probability: float) -> float:
    """The smallest possible p of `coin_p_values`: .033 for 5 replicates with fair coins, .001 for 10."""
    if 2**replicates > MOST_PATTERNS:
        return 1 / (1 + MOST_PATTERNS)
    rare = min(probability, 1 - probability)
    least = rare ** (replicates - 1) * (1 - rare)
    return least / (1 - rare**replicates - (1 - rare) ** replicates)


@dataclass(frozen=True)
class Share:
    """Share of records that leak. estimate: Storey's, biased low. low: a 95 % lower bound. Both in [0, 1]."""

    estimate: float
    low: float


def leaking_share(p: np.ndarray, higher: np.ndarray, units: int) -> Share:
    """From p-values [K] and the chances of a strictly higher statistic [K], see `coin_p_values`, without NaN.

    For records that do not leak, half of the p-values are above 1/2 (ties broken evenly between `higher` and p).
    Records that leak have few such p-values, which count as not leaking, so the share is underestimated if leakage is
    weak (Storey 2002). units: number of independent units among the records; the bound is Wilson's for that number.
    """
    if not len(p):
        return Share(float("nan"), float("nan"))
    above = np.clip((p - LAMBDA) / np.maximum(p - higher, ROUNDING), 0, 1).mean()
    z = ndtri(LEVEL)
    center, half = above + z**2 / (2 * units), z * np.sqrt(above * (1 - above) / units + z**2 / (4 * units**2))
    most = (center + half) / (1 + z**2 / units)
    return Share(*(float(np.clip(1 - value / (1 - LAMBDA), 0, 1)) for value in (above, most)))


def false_discovery_rates(p: np.ndarray, independent: bool = True) -> np.ndarray:
    """q-values [K] of p-values [K]: the smallest false-discovery rate at which each is called.

    Benjamini & Hochberg's (1995), times Storey, Taylor & Siegmund's (2004) share of records that do not leak if
    p-values are independent, which they are not if persons have several records. No q is below its p: if nearly all
    records leak, Storey's factor alone would call records that show no leak themselves.
    """
    if not len(p):
        return p
    count = len(p)
    none = min(1.0, (1 + (p > LAMBDA).sum()) / (count * (1 - LAMBDA))) if independent else 1.0
    order = p.argsort(kind="stable")[::-1]
    q = np.empty(count)
    q[order] = np.minimum.accumulate(p[order] * count / np.arange(count, 0, -1))
    return np.maximum(p, np.minimum(1, none * q))
