"""What replicates can settle: the smallest effect on AUC that a paired contrast finds, and how many find a given."""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

from study.design.study_design import Design

ALPHA, POWER = 0.05, 0.8
SEEN = (0.023, 0.033)
"""SDs of paired differences of AUC between two cells that studies of DCGANs had: used until a study has its own."""
WORTHWHILE = 0.02
FEWEST = 3
"""Replicates from which a study's own SD is taken."""
MOST = 100_000

QUANTILES = (np.arange(2000) + 0.5) / 2000


def smallest_effect(sd: float, replicates: int, contrasts: int = 1) -> float | None:
    """The mean paired difference that a two-sided t test on R - 1 degrees of freedom finds with probability POWER.

    At level ALPHA over the number of contrasts, which is Holm's first step. None under 2 replicates.
    """
    if replicates < 2:
        return None
    if sd == 0:
        return 0.0
    scale = sd / replicates**0.5
    high = 1.0
    while _power(high, replicates, contrasts) < POWER:
        high *= 2
    return scale * float(brentq(lambda shift: _power(shift, replicates, contrasts) - POWER, 0, high))


def replicates_for(effect: float, sd: float, contrasts: int = 1) -> int:
    """The fewest replicates that find an effect; MOST where no fewer do."""
    low, high = 2, 2
    while high < MOST and _power(effect / (sd / high**0.5), high, contrasts) < POWER:
        low, high = high, min(2 * high, MOST)
    while low < high:
        middle = (low + high) // 2
        enough = _power(effect / (sd / middle**0.5), middle, contrasts) >= POWER
        low, high = (low, middle) if enough else (middle + 1, high)
    return high


def _power(shift: float, replicates: int, contrasts: int) -> float:
    """Of a two-sided t test whose statistic is shifted by so many standard errors: a mean over its estimated SD."""
    freedom = replicates - 1
    bounds = t.ppf(1 - ALPHA / contrasts / 2, freedom) * np.sqrt(chi2.ppf(QUANTILES, freedom) / freedom)
    return float(np.mean(norm.cdf(shift - bounds) + norm.cdf(-shift - bounds)))


def paired_sd(auc: np.ndarray) -> float | None:
    """SD of a difference between two cells in a replicate, pooled over all pairs of cells; auc: [cells, replicates].

    sqrt(2 s^2), where s^2 is the variance about the means of cells and of replicates on (C - 1)(R - 1) degrees of
    freedom. Replicates that lack a cell (NaN) are left out; None where fewer than FEWEST are left, or one cell.
    """
    auc = auc[:, ~np.isnan(auc).any(axis=0)]
    cells, replicates = auc.shape
    if replicates < FEWEST or cells < 2:
        return None
    rest = auc - auc.mean(axis=1, keepdims=True) - auc.mean(axis=0, keepdims=True) + auc.mean()
    return float((2 * (rest**2).sum() / ((cells - 1) * (replicates - 1))) ** 0.5)


def own_sd(design: Design, auc: Mapping[tuple[str, str], float]) -> float | None:
    """Of the attack that audits a study, its last level. auc: by trial_id and attack_id."""
    cells: dict[tuple[int, int], list[float]] = {}
    places = {id(cell): number for number, cell in enumerate(design.cells)}
    for trial in design.trials:
        wanted = [item for item in trial.attacks if item.label.partition("_steps")[0] == design.spec.audit.attack]
        if wanted:
            row = cells.setdefault((places[id(trial.cell)], trial.steps), [float("nan")] * design.spec.replicates)
            row[trial.replicate] = auc.get((trial.trial_id, wanted[-1].attack_id), float("nan"))
    return paired_sd(np.array(list(cells.values()))) if cells else None


def family(design: Design) -> int:
    """Contrasts of a study's factors: each level but the first against the first; one for a range."""
    levels = design.spec.resolved["factors"].values()
    return max(1, sum(len(values) - 1 if isinstance(values, list) else 1 for values in levels))
