"""Power of a two-sided test of a difference for a number of replicates, from its two-way variance.

With R replicates a difference of mean AUCs has variance V(R) = s^2 / R + V_rec: s^2 is the variance between replicates,
and V_rec the variance between the judged records, which more replicates do not reduce (see `two_way`). The test is a t
test with Satterthwaite's degrees of freedom.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

ALPHA, POWER = 0.05, 0.8
MOST = 10_000
"""Larger numbers of replicates are not reported: no study would run them."""
QUANTILES = (np.arange(1000) + 0.5) / 1000


@dataclass(frozen=True)
class Spread:
    """The spread of a difference between two cells. sd: of one replicate's difference. between_records: V_rec.

    units: m, the units of V_rec; None if unknown: degrees of freedom are then those of the replicates, the smallest
    possible.
    """

    sd: float
    between_records: float = 0.0
    units: int | None = None

    def error(self, replicates: int) -> float:
        """The standard error of a mean over so many replicates."""
        return (self.sd**2 / replicates + self.between_records) ** 0.5

    def df(self, replicates: int) -> float:
        """Satterthwaite's degrees of freedom, for 2 replicates or more."""
        if self.units is None:
            return replicates - 1.0
        between = self.sd**2 / replicates
        spread = between**2 / (replicates - 1) + self.between_records**2 / (self.units - 1)
        return (between + self.between_records) ** 2 / spread if spread > 0 else replicates - 1.0


def power_of(shift: float, df: float, alpha: float = ALPHA) -> float:
    """Power of a two-sided t test for an effect of `shift` standard errors, which are estimated with df.

    An average of normal tails over the distribution of the estimated error; numerically stable far from zero, unlike
    noncentral t.
    """
    critical = t.ppf(1 - alpha / 2, df) * np.sqrt(chi2.ppf(QUANTILES, df) / df)
    return float((norm.sf(critical - shift) + norm.cdf(-critical - shift)).mean())


def smallest_effect(spread: Spread, replicates: int, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The difference that so many replicates detect with this power; None for fewer than 2 replicates."""
    if replicates < 2:
        return None
    error, df = spread.error(replicates), spread.df(replicates)
    if error == 0:
        return 0.0
    high = 1.0
    while power_of(high, df, alpha) < power:
        high *= 2
    return error * float(brentq(lambda shift: power_of(shift, df, alpha) - power, 0, high))


def replicates_for(effect: float, spread: Spread, alpha: float = ALPHA, power: float = POWER) -> int | None:
    """The smallest number of replicates, from 2, that detects a difference with this power; None above MOST."""

    def enough(replicates: int) -> bool:
        error = spread.error(replicates)
        return error == 0 or power_of(abs(effect) / error, spread.df(replicates), alpha) >= power

    if effect == 0 or not enough(MOST):
        return None
    low, high = 1, MOST
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
