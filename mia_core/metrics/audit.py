"""Lower bounds on epsilon, from guesses of independent fair coins in one training, or from many trainings.

One training: each of m records (`coins`) was included by its own fair coin. An auditor who sees the trained model
guesses r coins (`guesses`, a number that is fixed beforehand), and c of them correctly (`correct`). A bound holds with
its confidence over coins and training together, for any attack and any dependence between its scores. Neighbors add or
remove one record.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, log_ndtr, ndtr, ndtri
from scipy.stats import beta, binom

from mia_core.metrics.float32_scores import float32_scores

CONFIDENCE = 0.95

DELTA = 1e-5
"""delta of bounds if a claim has none."""

DELTAS = tuple(float(f"{delta:.3g}") for delta in np.geomspace(1e-6, 0.5, 20))
"""Where the privacy profile of a claim is evaluated; three times as many points change no p by more than a tenth."""

SHARES = (1 / 4, 1 / 2)
"""Shares of the coins that are guessed.

A quarter is near the optimum for claims that so few guesses can contradict. Guessing all coins is never best: under a
trade-off curve one draw may decide all of them.
"""

FEWEST_COINS = 8

BISECTIONS = 40
LARGEST_EPSILON = 700
"""e^epsilon is finite as a float up to here."""


@dataclass(frozen=True)
class Bound:
    """epsilon is at least `epsilon_low`, with `confidence`; 0 means that nothing was shown.

    epsilon_ceiling: the bound of an attack that is always right. method: `one_run` and `independent_trainings` hold for
    every mechanism, those ending in `_gaussian` for Gaussian ones; `heuristic` is no valid bound.
    """

    epsilon_low: float
    epsilon_ceiling: float
    confidence: float
    method: Literal[
        "one_run", "one_run_gaussian", "independent_trainings", "independent_trainings_gaussian", "heuristic"
    ]


class Curve(Protocol):
    """A trade-off curve f (Dong, Roth & Su 2022): every event E has P(E) <= 1 - f(P'(E)) for neighbors P, P'."""

    def least(self, probability: float) -> float:
        """The smallest possible P'(E) if P(E) = probability, in [0, 1]: the inverse of 1 - f."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """Two normals of deviation 1, `mu` >= 0 apart; a sum of all records with noise multiplier sigma has 1 / sigma."""

    mu: float

    def least(self, probability: float) -> float:
        """See `Curve`."""
        return float(ndtr(ndtri(probability) - self.mu))

    def epsilon(self, delta: float) -> float:
        """epsilon at `delta` in (0, 1), from Balle & Wang (2018), theorem 8, in logarithms."""

        def excess(epsilon: float) -> float:
            first = log_ndtr(self.mu / 2 - epsilon / self.mu)
            second = log_ndtr(-self.mu / 2 - epsilon / self.mu)
            return first + math.log(-math.expm1(min(epsilon + second - first, -1e-16))) - math.log(delta)

        if self.mu == 0 or excess(0) <= 0:
            return 0.0
        enough = self.mu * (self.mu / 2 + math.sqrt(-2 * math.log(delta)))
        return float(brentq(excess, 0, enough, xtol=1e-12))


class Profile:
    """A mechanism that is (epsilons[k], deltas[k])-DP for each of K pairs."""

    def __init__(self, epsilons: np.ndarray, deltas: np.ndarray) -> None:
        """epsilons [K] in [0, 700], deltas [K] in [0, 1]; ValueError otherwise."""
        if epsilons.shape != deltas.shape or epsilons.ndim != 1 or not len(epsilons):
            raise ValueError(f"profile: epsilons {epsilons.shape} and deltas {deltas.shape} do not match")
        if not (np.all((epsilons >= 0) & (epsilons <= LARGEST_EPSILON)) and np.all((deltas >= 0) & (deltas <= 1))):
            raise ValueError(
                f"profile: needs epsilons in [0, {LARGEST_EPSILON}] and deltas in [0, 1]; leave others out"
            )
        self.epsilons = epsilons
        self.deltas = deltas
        self._growth = np.exp(epsilons)

    def of_group(self, records: int) -> "Profile":
        """The guarantee for groups: the profile if `records` records change at once."""
        deltas = np.minimum(1, self.deltas * sum(np.exp(k * self.epsilons) for k in range(records)))
        return Profile(
            np.minimum(LARGEST_EPSILON, records * self.epsilons),
            np.where(records * self.epsilons > LARGEST_EPSILON, 1, deltas),
        )

    def least(self, probability: float) -> float:
        """See `Curve`; the maximum over the pairs' lines."""
        low = (probability - self.deltas) / self._growth
        high = 1 - self.deltas - self._growth * (1 - probability)
        return max(0.0, float(low.max()), float(high.max()))


def one_run(correct: int, guesses: int, coins: int, delta: float, confidence: float, changes: int = 1) -> Bound:
    """One run of any mechanism (Steinke, Nasr & Jagielski 2023; arXiv 2305.08846), with the sharper `pair_p_value`.

    changes: records that a coin adds or removes, 2 if it exchanges two records; epsilon is for a single record.
    ValueError unless 0 <= correct <= guesses <= coins, 0 <= delta < 1 and 0 < confidence < 1.
    """
    _check_counts(correct, guesses, coins)
    _check_levels(delta, confidence)

    def low(right: int) -> float:
        return _largest(lambda epsilon: p_value(right, epsilon) <= 1 - confidence)

    def p_value(right: int, epsilon: float) -> float:
        spread = min(1.0, delta * sum(math.exp(k * epsilon) for k in range(changes)))
        return pair_p_value(right, guesses, coins, changes * epsilon, spread)

    return Bound(low(correct), low(guesses), confidence, "one_run")


def pair_p_value(correct: int, guesses: int, coins: int, epsilon: float, delta: float) -> float:
    """Maximal P[c or more right] of an (epsilon, delta)-DP mechanism: t + (delta m / c) t (1 - t) / P[W = c].

    W ~ Binomial(r, e^epsilon / (1 + e^epsilon)), t = P[W >= c]. Proof: let p_i = P[i right]. Under coins s, consider
    the event that guess j is right and i are right in total; if coin j is flipped, the same event is that guess j is
    wrong and i - 1 are right. So for weights v_i >= 0, averaged over s and j: sum_i v_i i p_i <= e^epsilon sum_i v_i
    (r-i+1) p_{i-1} + m delta max v. Choose i P[W = i] v_i = P[W < min(i, c)] P[W >= max(i, c)]. As i P[W = i] =
    e^epsilon (r-i+1) P[W = i-1], this becomes sum_i p_i (1[i >= c] - t) <= m delta max v, and since P[W = i] is
    log-concave, v is largest at c.

    The bound is attained (in `tests`) by a multiple of P[W = i] below c and a larger one from c on. Theorem 5.2 of
    Steinke et al. (2023) is weaker for small p, which audits need; near p = 1, as printed, it does not hold.
    """
    if correct == 0:
        return 1.0
    odds = math.exp(epsilon)
    tail = float(binom.sf(correct - 1, guesses, expit(epsilon)))
    if tail < 0.5:  # t / P[W = c] and (1 - t) / P[W = c] as sums of ratios, since P[W = c] may underflow to 0
        k = np.arange(correct, guesses)
        steepness = (1 - tail) * (1 + np.cumprod(odds * (guesses - k) / (k + 1)).sum())
    else:
        k = np.arange(correct, 0, -1)
        steepness = tail * np.cumprod(k / (odds * (guesses - k + 1))).sum()
    return min(1.0, tail + delta * coins / correct * float(steepness))


def gaussian_epsilon_low(
    correct: int, guesses: int, coins: int, delta: float, confidence: float, changes: int = 1
) -> Bound:
    """Lower bound of epsilon at delta for a Gaussian mechanism: the epsilon of the largest rejected mu.

    Never below `one_run`, but a valid bound only if the trade-off curve is Gaussian. It is an estimate for subsampled
    DP-SGD, whose curve is nearly Gaussian after many steps (Dong, Roth & Su 2022). ValueError unless 0 <= correct <=
    guesses <= coins, 0 < delta < 1 and 0 < confidence < 1.
    """
    if delta == 0:
        raise ValueError("audit: a Gaussian mechanism has no epsilon at delta 0")
    pair = one_run(correct, guesses, coins, delta, confidence, changes)

    def low(right: int) -> float:
        mu = _largest(lambda mu: not possible(1 - confidence, right, guesses, coins, Gaussian(changes * mu)))
        return Gaussian(mu).epsilon(delta)

    least, ceiling = max(low(correct), pair.epsilon_low), max(low(guesses), pair.epsilon_ceiling)
    return Bound(least, ceiling, confidence, "one_run_gaussian")


def claim_p_value(correct: int, guesses: int, coins: int, profile: Profile) -> float:
    """p of the claim that the mechanism has this privacy profile: an upper bound of P[correct or more right] under it.

    The minimum of the bounds by each single pair and by the curve of all pairs. ValueError unless 0 <= correct <=
    guesses <= coins.
    """
    _check_counts(correct, guesses, coins)
    pairs = zip(profile.epsilons, profile.deltas, strict=True)
    alone = min(pair_p_value(correct, guesses, coins, epsilon, delta) for epsilon, delta in pairs)
    return min(alone, curve_p_value(correct, guesses, coins, profile))


def curve_p_value(correct: int, guesses: int, coins: int, curve: Curve) -> float:
    """Maximal P[correct or more right] under a trade-off curve, to nine digits, rounded up; at least 1e-300."""
    if possible(1.0, correct, guesses, coins, curve):
        return 1.0
    low, high = math.log(1e-300), 0.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if possible(math.exp(middle), correct, guesses, coins, curve):
            low = middle
        else:
            high = middle
    return math.exp(high)


def possible(tail: float, correct: int, guesses: int, coins: int, curve: Curve) -> bool:
    """Whether P[correct or more right] = tail is possible under a curve (Mahloujifar et al. 2024; arXiv 2410.22235).

    Let p_i = P[i right]. Under coins s, consider the event that guess j is right and i or more are right in total; if
    coin j is flipped, the same event is that guess j is wrong and i - 1 or more are right. 1 - f bounds the one
    probability by the other and is concave, so by Jensen's inequality over s and j, with A = sum_{k>=i} (k/m) p_k and B
    = sum_{k>=i-1} ((r-k)/m) p_k: B >= least(A).

    Moving mass from k to l < k never raises any A, and never lowers any B with i <= l + 1. So the total mass is
    smallest if the tail is exactly at c and if, going down below c, there is no more mass than each i requires. The p
    that satisfy all i form a convex set that includes one with tail 0, so the possible tails are an interval.
    """
    total, right, wrong = tail, tail * correct / coins, tail * (guesses - correct) / coins
    for i in range(correct, 0, -1):
        needed = curve.least(right)
        if needed <= wrong:  # no more mass is required here or below
            return True
        mass = (needed - wrong) * coins / (guesses - i + 1)
        total += mass
        if total > 1:
            return False
        right += mass * (i - 1) / coins
        wrong = needed
    return True


def guess(score: np.ndarray, coin: np.ndarray, guesses: int, random: np.random.Generator) -> int:
    """Number of coins, bool [m], that are guessed right: the guesses/2 highest scores [m] as in, as many lowest as out.

    Ties, in float32, are broken at random. ValueError unless scores are finite and guesses even, from 2 to m.
    """
    score = float32_scores("guess", score, coin, "coins")
    if guesses % 2 or not 2 <= guesses <= len(score):
        raise ValueError(f"guess: guesses must be even, from 2 to {len(score)} coins, got {guesses}")
    order = np.lexsort([random.permutation(len(score)), score])
    return int(coin[order[-(guesses // 2) :]].sum() + (~coin[order[: guesses // 2]]).sum())


@dataclass(frozen=True)
class Guesses:
    """Number of coins, and for each of SHARES the number of guesses, by the most extreme scores, and of right ones.

    Guesses of independent trainings, each about its own coins, add up to those of one mechanism.
    """

    coins: int = 0
    guesses: tuple[int, ...] = (0,) * len(SHARES)
    right: tuple[int, ...] = (0,) * len(SHARES)

    @classmethod
    def of(cls, score: np.ndarray, coin: np.ndarray, random: np.random.Generator) -> "Guesses":
        """From scores [m] and coins, bool [m], of one training; fewer than FEWEST_COINS coins count as none."""
        if len(coin) < FEWEST_COINS:
            return cls()
        counts = cls.perfect(len(coin)).guesses
        return cls(len(coin), counts, tuple(guess(score, coin, count, random) for count in counts))

    @classmethod
    def perfect(cls, coins: int) -> "Guesses":
        """All guesses right."""
        counts = tuple(2 * round(share * coins / 2) for share in SHARES)
        return cls(coins, counts, counts)

    def __add__(self, other: "Guesses") -> "Guesses":
        pairs = zip((self.guesses, self.right), (other.guesses, other.right), strict=True)
        guesses, right = (tuple(a + b for a, b in zip(*pair, strict=True)) for pair in pairs)
        return Guesses(self.coins + other.coins, guesses, right)

    def bounds(self, delta: float, changes: int) -> tuple[Bound, Bound]:
        """`one_run` and `one_run_gaussian` with the first share, at 95 % confidence."""
        counts = (self.right[0], self.guesses[0], self.coins, delta, CONFIDENCE, changes)
        return one_run(*counts), gaussian_epsilon_low(*counts)

    def contradict(self, claim: Profile) -> tuple[int, int, float]:
        """Right guesses, guesses, and p of a claim, for the first share at which perfect guesses could contradict it.

        This share depends only on the claim and the number of coins, so it is fixed beforehand.
        """
        could = (claim_p_value(count, count, self.coins, claim) < 1 - CONFIDENCE for count in self.guesses)
        number = next((number for number, enough in enumerate(could) if enough), len(SHARES) - 1)
        right, guesses = self.right[number], self.guesses[number]
        return right, guesses, claim_p_value(right, guesses, self.coins, claim)


def independent_trainings(
    detected_in: int, trainings_in: int, detected_out: int, trainings_out: int, delta: float, confidence: float
) -> Bound:
    """Nasr et al. (2021; arXiv 2101.04535): detections of a canary in independent trainings with and without it.

    Clopper-Pearson bounds on TPR and FPR, each at half of 1 - confidence. ValueError unless 0 <= detected <= trainings
    >= 1, 0 <= delta < 1 and 0 < confidence < 1.
    """
    return _two_shares(
        detected_in, trainings_in, detected_out, trainings_out, delta, confidence, "independent_trainings"
    )


def independent_guesses(correct: int, trainings: int, delta: float, confidence: float) -> Bound:
    """Lower bound of epsilon for a Gaussian mechanism, from guesses of a canary's coin in independent trainings.

    A fair coin is guessed right with probability at most Phi(mu / 2) (Dong, Roth & Su 2022), so the number of right
    guesses is binomial. That is far sharper than as many coins in one training, whose guesses may all be right or wrong
    together. ValueError unless 0 <= correct <= trainings >= 1, 0 < delta < 1 and 0 < confidence < 1.
    """
    _check_counts(correct, trainings, trainings)
    _check_levels(delta, confidence)

    def low(right: int) -> float:
        return Gaussian(max(0.0, 2 * float(ndtri(at_least(right, trainings, 1 - confidence))))).epsilon(delta)

    return Bound(low(correct), low(trainings), confidence, "independent_trainings_gaussian")


def heuristic(
    called_members: int, members: int, called_others: int, others: int, delta: float, confidence: float
) -> Bound:
    """The same from one training's members and non-members; no valid bound, as scores of one target are dependent."""
    return _two_shares(called_members, members, called_others, others, delta, confidence, "heuristic")


def _two_shares(
    hits: int,
    inside: int,
    false_alarms: int,
    outside: int,
    delta: float,
    confidence: float,
    method: Literal["independent_trainings", "heuristic"],
) -> Bound:
    if not (0 <= hits <= inside and 0 <= false_alarms <= outside and inside and outside):
        raise ValueError(f"audit: {hits} of {inside} and {false_alarms} of {outside} are no shares")
    _check_levels(delta, confidence)

    def low(hits: int, rejections: int) -> float:
        found = at_least(hits, inside, (1 - confidence) / 2), at_least(rejections, outside, (1 - confidence) / 2)
        ratios = ((one - delta) / (1 - other) for one, other in (found, found[::-1]))
        return max(0.0, *(math.log(ratio) if ratio > 0 else 0.0 for ratio in ratios))

    return Bound(low(hits, outside - false_alarms), low(inside, outside), confidence, method)


def at_least(hits: int, count: int, alpha: float) -> float:
    """One-sided lower confidence bound of a proportion at error `alpha` (Clopper & Pearson 1934)."""
    return float(beta.ppf(alpha, hits, count - hits + 1)) if hits else 0.0


def _check_counts(correct: int, guesses: int, coins: int) -> None:
    if not 0 <= correct <= guesses <= coins or guesses < 1:
        raise ValueError(f"audit: needs 0 <= correct <= guesses <= coins, got {correct}, {guesses}, {coins}")


def _check_levels(delta: float, confidence: float) -> None:
    if not (0 <= delta < 1 and 0 < confidence < 1):
        raise ValueError(f"audit: needs delta in [0, 1) and confidence in (0, 1), got {delta} and {confidence}")


def _largest(rejected: Callable[[float], bool]) -> float:
    """The largest rejected parameter, approximated from below; 0 if 0 is not rejected."""
    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while rejected(high):
        low, high = high, 2 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low
