"""LiRA with few trainings: the likelihood ratio of a score, of normal models of each record's IN and OUT scores.

Model: a record's OUT score is b_i + e, its IN score b_i + d_i + e, with b_i ~ N(mean OUT, var_b), d_i ~ N(shift, var_d)
and e ~ N(0, var_e). All five numbers are estimated from the reference trainings, over all records. rho = var_b / (var_b
+ var_e) is the share of records in the variance.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from mia_core.derived.derived_attack import DERIVED, DerivedAttack
from mia_core.derived.evidence import Evidence, Side, divided
from mia_core.settings import settings

LOW_PROBABILITY = 0.25
"""Below this probability of a query to be a member, `form: auto` is offline: most records have no IN trainings."""
UNKNOWN_SHARE = 0.5
"""rho where no record has two reference trainings on one side, so that noise and records cannot be told apart."""
LEAST_SHIFT = 0.1
"""Of IN over OUT normal scores. A score is higher for members; whether it is must not be learned from few coins, since
then the AUCs of replicates that learn from each other would be too dependent for intervals over replicates."""
LEAST_VARIANCE = 1e-6
"""Of normal scores, whose variance is about 1: var_e is at least this, so that ratios stay finite."""


@dataclass(frozen=True)
class Predicted:
    """Normal predictions of a record's next score: mean and variance IN and OUT, broadcast to [...,R,Q]."""

    mean_in: np.ndarray
    variance_in: np.ndarray
    mean_out: np.ndarray
    variance_out: np.ndarray

    def log_ratio(self, score: np.ndarray) -> np.ndarray:
        """log N(s; mean_in, variance_in) - log N(s; mean_out, variance_out), [...,R,Q] (Carlini et al. 2022)."""
        inside = (score - self.mean_in) ** 2 / self.variance_in + np.log(self.variance_in)
        outside = (score - self.mean_out) ** 2 / self.variance_out + np.log(self.variance_out)
        found: np.ndarray = (outside - inside) / 2
        return found

    def above_out(self, score: np.ndarray) -> np.ndarray:
        """(s - mean_out) / sd_out, [...,R,Q]: the offline form, monotone in its Gaussian p-value."""
        return (score - self.mean_out) / np.sqrt(self.variance_out)


def predicted(outside: Side, inside: Side, learn_from_members: bool = True) -> Predicted:
    """Empirical-Bayes predictions from sums over reference trainings.

    The mean of k OUT scores has weight k rho / (k rho + 1 - rho) against the mean of all records; a record's IN scores
    then correct both of its means, by normal updating, unless they are not learned from. Records without IN or OUT
    trainings are thus shrunk, and not dropped. variance: pooled within records and sides, plus that of the mean.
    """
    noise, records, shifts = predicted_variances(outside, inside)
    weight = divided(outside.count * records, outside.count * records + noise)
    mean = outside.overall + weight * (outside.mean - outside.overall)
    uncertain = records * (1 - weight)
    shift = np.maximum(inside.overall - outside.overall, LEAST_SHIFT)
    count = inside.count if learn_from_members else np.zeros_like(inside.count)
    prior = uncertain + shifts
    surprise = inside.mean - shift - mean
    to_in = divided(count * prior, count * prior + noise)
    to_out = divided(count * uncertain, count * prior + noise)
    return Predicted(
        mean_in=mean + shift + to_in * surprise,
        variance_in=noise + prior * (1 - to_in),
        mean_out=mean + to_out * surprise,
        variance_out=noise + uncertain * (1 - to_out),
    )


def predicted_variances(outside: Side, inside: Side) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """var_e, var_b and var_d, [...,R,1] each, by the method of moments."""
    sides = (outside, inside)
    squares = sum((side.square - side.total * side.mean).sum(-1, keepdims=True) for side in sides)
    freedom = sum(np.maximum(side.count - 1, 0).sum(-1, keepdims=True) for side in sides)
    count = outside.count.sum(-1, keepdims=True)
    spread = divided(outside.square.sum(-1, keepdims=True), count) - outside.overall**2
    spread = np.where(count > 1, np.maximum(spread, 0), 1)
    within = divided(np.asarray(squares), np.asarray(freedom))
    noise = np.where(np.asarray(freedom) > 0, within, (1 - UNKNOWN_SHARE) * spread)
    noise = np.maximum(noise, LEAST_VARIANCE)
    records = np.maximum(spread - noise, 0)
    both = (outside.count > 0) & (inside.count > 0)
    number = both.sum(-1, keepdims=True)
    difference = np.where(both, inside.mean - outside.mean, 0)
    mean = divided(difference.sum(-1, keepdims=True), number)
    of_differences = divided(np.where(both, (difference - mean) ** 2, 0).sum(-1, keepdims=True), number - 1)
    by_noise = np.where(both, divided(np.ones(()), outside.count) + divided(np.ones(()), inside.count), 0)
    expected = noise * divided(by_noise.sum(-1, keepdims=True), number)
    return noise, records, np.maximum(of_differences - expected, 0)


def lira(evidence: Evidence) -> np.ndarray:
    """The log-likelihood ratio, [...,R,Q], of scores rank-normalized within each training."""
    evidence = evidence.normal
    score, _ = evidence.single
    found = predicted(evidence.side(False), evidence.side(True)).log_ratio(score)
    return evidence.where_referenced(found, score)


def lira_offline(evidence: Evidence) -> np.ndarray:
    """(s - mean_out) / sd_out, [...,R,Q], from the OUT scores alone: for records that are seldom members."""
    evidence = evidence.normal
    score, _ = evidence.single
    found = predicted(evidence.side(False), evidence.side(True), learn_from_members=False).above_out(score)
    return evidence.where_referenced(found, score)


@DERIVED.register
class Lira(DerivedAttack):
    """LiRA (Carlini et al. 2022) with empirical-Bayes means and pooled variances."""

    name = "lira"

    @settings
    class Config:
        """form: `online` takes IN and OUT scores, `offline` OUT alone; `auto` is offline below a probability of .25."""

        form: Literal["auto", "online", "offline"] = "auto"

    def __call__(self, evidence: Evidence, probability: float) -> np.ndarray:
        """Scores [...,R,Q]."""
        return (lira_offline if is_offline(self.config.form, probability) else lira)(evidence)


def is_offline(form: str, probability: float) -> bool:
    """Whether a form, with this probability of a query to be a member, takes OUT scores alone."""
    return form == "offline" or (form == "auto" and probability < LOW_PROBABILITY)
