"""The two-way interval of a cell's mean AUC, and of weighted sums of cells, for 'records like these'.

Two things are random: the records that the study judges (the same ones in every replicate), and in each replicate the
coins, the initialization and the order. An interval over replicates alone takes the records as fixed, so it is too
short if some records leak more than others. Here both variances are estimated, in closed form:

    V_rep = var_r(A_r) / R
    V_rec = max(0, [var_i(mean_r I_ir) - mean_i var_r(I_ir) / R] / m)
    V = V_rep + V_rec,  df = V^2 / (V_rep^2 / (R - 1) + V_rec^2 / (m - 1))

from AUCs A_r and influences I_ir of R replicates and m units; all var are sample variances. V_rep contains what differs
between replicates; var_i(mean_r I_ir) / m is the variance between records of the mean over replicates, from which the
second term subtracts what V_rep contains already. df is Satterthwaite's (1946). docs/statistics.md derives it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm
from scipy.stats import t as student

from mia_core.metrics.influence import Aucs
from mia_core.metrics.score_interval import score_limits, score_variance

MIN_REPLICATES = 5
"""With fewer replicates an interval is descriptive: with so few degrees of freedom its coverage cannot be shown."""

FEWEST_ERRORS = 3
"""If m min(A, 1 - A), the wrongly ordered pairs in units, is below it, the score interval is used.

Too few wrong pairs then determine the variance: t intervals covered 90 to 93 % of simulated studies there, and at least
93 % above.
"""

NO_VARIANCE = 1e-18
"""Smaller than the variance of any two different AUCs, larger than rounding errors of equal ones."""


@dataclass(frozen=True)
class Variance:
    """between_replicates, between_records [...]: V_rep and V_rec. df [...]: of their sum; NaN with one replicate."""

    between_replicates: np.ndarray
    between_records: np.ndarray
    df: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """V."""
        return self.between_replicates + self.between_records


def two_way_variance(auc: np.ndarray, influence: np.ndarray) -> Variance:
    """Variance of the mean over replicates of values [..., R] with influences [..., R, m]; m at least 2."""
    replicates, units = influence.shape[-2:]
    if replicates < 2:
        unknown = np.full(auc.shape[:-1], np.nan)
        return Variance(unknown, unknown, unknown)
    between_replicates = auc.var(-1, ddof=1) / replicates
    shared = influence.mean(-2).var(-1, ddof=1) - influence.var(-2, ddof=1).mean(-1) / replicates
    between_records = np.maximum(0, shared / units)
    total = between_replicates + between_records
    spread = between_replicates**2 / (replicates - 1) + between_records**2 / (units - 1)
    df = np.divide(total**2, spread, out=np.full_like(total, replicates - 1.0), where=spread > 0)
    return Variance(between_replicates, between_records, df)


@dataclass(frozen=True)
class Estimate(ABC):
    """An estimate [...] from R replicates, with its two-way `variance`."""

    estimate: np.ndarray
    variance: Variance
    replicates: int

    @property
    def descriptive(self) -> bool:
        """Whether there are too few replicates for inference; with a single one, limits are NaN."""
        return self.replicates < MIN_REPLICATES

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Two-sided limits, [...] each."""
        return self._limits((1 - level) / 2)

    def lower(self, level: float = 0.95) -> np.ndarray:
        """The one-sided lower bound [...]."""
        return self._limits(1 - level)[0]

    def upper(self, level: float = 0.95) -> np.ndarray:
        """The one-sided upper bound [...]; a limit above it is 'not exceeded'."""
        return self._limits(1 - level)[1]

    @abstractmethod
    def _limits(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        """Limits with error probability `tail` on each side."""


@dataclass(frozen=True)
class MeanAuc(Estimate):
    """A cell's mean AUC, [...], with t limits on the logit scale around the logit of the mean.

    estimate: the plain mean over replicates. If it is within FEWEST_ERRORS / units of 0 or 1, or nothing varied, limits
    are the score interval for one replicate's counts of units: members, non_members [...], each the minimum over
    replicates. This interval is conservative, since it ignores the other replicates.
    """

    units: int
    members: np.ndarray
    non_members: np.ndarray

    def p_greater(self, null: float = 0.5) -> np.ndarray:
        """One-sided p [...] of a true AUC of at most `null`; consistent with the lower bound."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (logit(self.estimate) - logit(null)) / self._logit_error
            z = (self.estimate - null) / np.sqrt(score_variance(null, self.members, self.non_members))
            return np.where(self._degenerate, norm.sf(z), student.sf(t, self.variance.df))[()]

    def p_value(self, null: float = 0.5) -> np.ndarray:
        """Two-sided p [...] of a true AUC of `null`; consistent with the interval."""
        above = self.p_greater(null)
        return 2 * np.minimum(above, 1 - above)

    @property
    def _degenerate(self) -> np.ndarray:
        sparse = self.units * np.minimum(self.estimate, 1 - self.estimate) < FEWEST_ERRORS
        return ~np.isnan(self.variance.total) & (sparse | (self.variance.total < NO_VARIANCE))

    @property
    def _logit_error(self) -> np.ndarray:
        return np.sqrt(self.variance.total) / (self.estimate * (1 - self.estimate))

    def _limits(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        degenerate = self._degenerate
        with np.errstate(divide="ignore", invalid="ignore"):
            half = student.isf(tail, self.variance.df) * self._logit_error
            center = logit(self.estimate)
            low, high = expit(center - half), expit(center + half)
        if degenerate.any():
            scores = score_limits(np.clip(self.estimate, 0, 1), self.members, self.non_members, norm.isf(tail))
            low, high = np.where(degenerate, scores[0], low), np.where(degenerate, scores[1], high)
        return low[()], high[()]


def mean_auc(cell: Aucs) -> MeanAuc:
    """The mean AUC of a cell's replicates: auc [..., R], influence [..., R, m]."""
    return MeanAuc(
        cell.auc.mean(-1),
        two_way_variance(cell.auc, cell.influence),
        cell.auc.shape[-1],
        cell.units,
        cell.members.min(-1),
        cell.non_members.min(-1),
    )


@dataclass(frozen=True)
class CellSum(Estimate):
    """A weighted sum of cells' mean AUCs, [...], with t limits on the AUC scale.

    means: the cells' mean AUCs. If nothing varied, limits combine their score intervals ('square-and-add', Zou & Donner
    2008), which are wide, since neither noise nor records have shown a variance.
    """

    weights: tuple[float, ...]
    means: tuple[MeanAuc, ...]

    def p_value(self, null: float = 0.0) -> np.ndarray:
        """Two-sided p [...] of a true sum of `null`; from the combined score intervals if nothing varied."""
        away = np.abs(self.estimate - null)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = 2 * student.sf(away / np.sqrt(self.variance.total), self.variance.df)
        still = self.variance.total < NO_VARIANCE
        return np.where(still, self._still_p(null), p)[()] if np.any(still) else p

    def _still_p(self, null: float) -> np.ndarray:
        """The largest p at which the combined score intervals contain `null`, by bisection of z."""
        low, high = np.zeros_like(self.estimate), np.full_like(self.estimate, 40.0)
        for _ in range(40):
            z = (low + high) / 2
            limits = self._combined(z)
            outside = (limits[0] > null) | (limits[1] < null)
            low, high = np.where(outside, z, low), np.where(outside, high, z)
        return np.where(np.abs(self.estimate - null) < NO_VARIANCE**0.5, 1.0, 2 * norm.sf(low))

    def _limits(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        half = student.isf(tail, self.variance.df) * np.sqrt(self.variance.total)
        low, high = self.estimate - half, self.estimate + half
        still = self.variance.total < NO_VARIANCE
        if np.any(still):
            combined = self._combined(norm.isf(tail))
            low, high = np.where(still, combined[0], low), np.where(still, combined[1], high)
        return low[()], high[()]

    def _combined(self, z: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        below, above = np.zeros_like(self.estimate), np.zeros_like(self.estimate)
        for weight, mean in zip(self.weights, self.means, strict=True):
            low, high = score_limits(np.clip(mean.estimate, 0, 1), mean.members, mean.non_members, z)
            down, up = (mean.estimate - low, high - mean.estimate)[:: 1 if weight >= 0 else -1]
            below, above = below + (weight * down) ** 2, above + (weight * up) ** 2
        return self.estimate - np.sqrt(below), self.estimate + np.sqrt(above)


def weighted_sum(cells: Sequence[Aucs], weights: Sequence[float]) -> CellSum:
    """sum_k w_k A_k of cells that judge the same units in the same replicates.

    cells: auc [..., R], influence [..., R, m] each. Values and influences are summed within replicates and records, so
    everything that cells share (records, coins, one training at several epochs) cancels or adds up correctly, whatever
    their correlation. ValueError unless shapes agree.
    """
    shapes = {cell.influence.shape for cell in cells}
    if len(shapes) != 1 or len(cells) != len(weights):
        raise ValueError(f"weighted_sum: {len(weights)} weights for cells of shapes {sorted(shapes)}; needs one shape")
    auc = sum(weight * cell.auc for weight, cell in zip(weights, cells, strict=True))
    influence = sum(weight * cell.influence for weight, cell in zip(weights, cells, strict=True))
    assert isinstance(auc, np.ndarray) and isinstance(influence, np.ndarray)
    variance = two_way_variance(auc, influence)
    return CellSum(
        auc.mean(-1), variance, auc.shape[-1], tuple(map(float, weights)), tuple(mean_auc(cell) for cell in cells)
    )


def contrast(cell: Aucs, baseline: Aucs) -> CellSum:
    """A cell's mean AUC minus the baseline's."""
    return weighted_sum([cell, baseline], [1.0, -1.0])


def alpha_of_look(look: int, alpha: float = 0.05) -> float:
    """alpha for look k = 1, 2, ... at growing data: 6 alpha / (pi^2 k^2), which sums to alpha over all looks.

    ValueError for k < 1.
    """
    if look < 1:
        raise ValueError(f"looks are counted from 1, got {look}")
    return 6 * alpha / (np.pi * look) ** 2
