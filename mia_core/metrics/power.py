"""What replicates can settle: the power of a two-sided test of a difference, by its two-way variance.

With R replicates a difference of mean AUCs has variance V(R) = s^2 / R + V_rec: s^2 is what differs between replicates,
V_rec what differs between the judged records, which no number of replicates makes smaller (see `two_way`). The test is
a t test on Satterthwaite's degrees of freedom.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

ALPHA, POWER = 0.05, 0.8
MOST = 10_000
"""More replicates are not named as a number: no study would run them."""
QUANTILES = (np.arange(1000) + 0.5) / 1000


@dataclass(frozen=True)
class Spread:
    """Of a difference between two cells. sd: of one replicate's. between_records: V_rec; units: m, that it is over, or
    None where that is not known: then degrees of freedom are those of the replicates alone, the fewest there can be.
    """

    sd: float
    between_records: float = 0.0
    units: int | None = None

    def error(self, replicates: int) -> float:
        """The standard error of a mean over so many replicates."""
        return (self.sd**2 / replicates + self.between_records) ** 0.5

    def df(self, replicates: int) -> float:
        """Satterthwaite's; from 2 replicates."""
        if self.units is None:
            return replicates - 1.0
        between = self.sd**2 / replicates
        spread = between**2 / (replicates - 1) + self.between_records**2 / (self.units - 1)
        return (between + self.between_records) ** 2 / spread if spread > 0 else replicates - 1.0


def power_of(shift: float, df: float, alpha: float = ALPHA) -> float:
    """Of a two-sided t test: the chance to find an effect of `shift` standard errors, which are estimated with df.

    A mean of normal tails over the spread that is estimated, which does not fail far from zero as noncentral t does.
    """
    critical = t.ppf(1 - alpha / 2, df) * np.sqrt(chi2.ppf(QUANTILES, df) / df)
    return float((norm.sf(critical - shift) + norm.cdf(-critical - shift)).mean())


def smallest_effect(spread: Spread, replicates: int, alpha: float = ALPHA, power: float = POWER) -> float | None:
    """The difference that so many replicates find with that power; None under 2 replicates."""
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
    """The fewest replicates, from 2, that find a difference with that power; None where MOST do not."""

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
