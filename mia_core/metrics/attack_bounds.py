"""What a policy's limits are compared with: one-sided bounds of each attack, and of copies, conditional on one release.

They speak of more records under the same release (of worst persons: of these members), by person where persons have
several records. Another training of the same generator may leak more or less.
"""

import numpy as np
from scipy.stats import beta

from mia_core.metrics.copies import rank_of
from mia_core.metrics.decisions import ALPHA, Bounded
from mia_core.metrics.leakage import tpr_at_fpr
from mia_core.metrics.low_fpr_bounds import share_bounds, tpr_bounds
from mia_core.metrics.trial_interval import trial_intervals
from mia_core.metrics.worst_persons import WorstPersons, worst_persons

FPR = 0.01
STATEMENTS = 3
"""Lower bounds that each attack adds: of its AUC, its TPR and its worst persons."""
OF_COPIES = 2
"""Lower bounds of copies: of samples that resemble a member, and of samples that equal one."""


def lower_tail(attacks: int, alpha: float = ALPHA) -> float:
    """Error probability of each lower bound, so that all of them hold together with probability 1 - alpha."""
    return alpha / (STATEMENTS * attacks + OF_COPIES)


def auc_bounded(
    by: str, score: np.ndarray, member: np.ndarray, tail: float, persons: np.ndarray | None = None
) -> Bounded:
    """The AUC of score [Q] and member bool [Q]; tail: of its lower bound. See `trial_intervals`."""
    auc, low, _ = trial_intervals(score, member, persons, 1 - 2 * tail)
    high = trial_intervals(score, member, persons, 1 - 2 * ALPHA)[2]
    return Bounded(by, float(auc), float(low), float(high))


def tpr_bounded(
    by: str, score: np.ndarray, member: np.ndarray, tail: float, persons: np.ndarray | None = None
) -> Bounded:
    """The TPR at 1 % FPR; bounds need no number of non-members, the estimate is None under 10 false positives."""
    low, high = tpr_bounds(score, member, tail, persons)[0], tpr_bounds(score, member, ALPHA, persons)[1]
    return Bounded(by, tpr_at_fpr(score[member], score[~member], FPR), low, high)


def worst_bounded(by: str, found: WorstPersons | None) -> Bounded:
    """Of `worst_persons`; nothing is known of too few persons."""
    if found is None:
        return Bounded(by, None, 0.0, None)
    return Bounded(by, found.share, found.low, found.high)


def worst_of(
    score: np.ndarray, member: np.ndarray, tail: float, persons: np.ndarray | None = None
) -> WorstPersons | None:
    """The worst persons with a lower bound at `tail`, and an upper one at ALPHA."""
    return worst_persons(score, member, tail, ALPHA, persons)


def excess_copies(called: int, samples: int, alpha: float, unseen: int, tail: float, several: bool = False) -> Bounded:
    """The share of samples that are called copies, beyond the false-copy rate.

    alpha, unseen, several: as in `false_copies`. Each bound spends half of its error probability on this rate and half
    on the share (Clopper & Pearson). The upper bound subtracts no more than is called, since samples that are blurrier
    than records are called copies by chance less often. ValueError where there are too few unseen persons for a
    threshold.
    """
    expected, fewest, most_by_chance = false_copies(alpha, unseen, several, ALPHA / 2, tail / 2)
    low = share_bounds(called, samples, tail / 2)[0] - most_by_chance
    least, most = share_bounds(called, samples, ALPHA / 2)
    return Bounded("copies", max(0.0, called / samples - expected), low, most - min(least, fewest))


def false_copies(
    alpha: float, unseen: int, several: bool, low_tail: float, high_tail: float
) -> tuple[float, float, float]:
    """The share of samples called copies by chance: expected, and its lower and upper bound.

    alpha: as in `find_copies`. unseen: persons that it was calibrated on. several: whether some have several records.
    With these persons the false-copy rate is one draw from Beta(c, U + 1 - c), c the rank of the threshold. It is of a
    person, any of whose records may be called. A single image is called less often, by as much as nobody knows: where
    persons have several records the lower bound is 0. ValueError where there are too few for a threshold.
    """
    rank = rank_of(alpha, unseen)
    if rank < 1:
        raise ValueError(f"false_copies: {unseen} unseen persons give no threshold at alpha {alpha}")
    rate = beta(rank, unseen + 1 - rank)
    return rank / (unseen + 1), 0.0 if several else float(rate.ppf(low_tail)), float(rate.isf(high_tail))


def exact_copies_bounded(equal: int, samples: int, tail: float) -> Bounded:
    """The share of samples that equal a member; no record is equal to one by chance, so no rate is subtracted."""
    low, high = share_bounds(equal, samples, tail)[0], share_bounds(equal, samples, ALPHA)[1]
    return Bounded("exact copies", equal / samples, low, high)
