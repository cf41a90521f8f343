"""'Leakage is shown': an exact test that draws the coins again as the design drew them.

If a target leaks nothing, its scores do not depend on the coins: (scores, coins) and (scores, new coins) have the same
distribution. So the rank of any statistic among those of redrawn coins is uniform: p = (1 + redraws at least as high) /
(1 + redraws) is exact for any number of replicates and records, and for any dependence of scores (Fisher 1935; Phipson
& Smyth 2010 for the added ones). Scores that are computed from coins (calibrated, LiRA) are recomputed for every
redraw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.stats import rankdata

from mia_core.metrics.control_variate import with_control_variate
from mia_core.metrics.influence import units_of

Law: TypeAlias = Callable[[np.random.Generator, int], np.ndarray]
"""How a design draws coins: law(random, count) is bool [count, R, J], distributed as the study's coins [R, J]."""

Derived: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Scores [D, R, J] of an attack that uses coins, as a function of coins [D, R, J]."""

Statistic: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""statistic(scores [R, J] or [D, R, J], members [D, R, J]) is [D], and high if members have high scores."""

DRAWS = 9_999
DRAWS_AT_ONCE = 256
ROUNDING = 1e-12
"""Statistics closer than this are equal, so that a redraw with the very same AUC counts."""


@dataclass(frozen=True)
class Shown:
    """K attacks against one hypothesis: that none of them distinguishes members.

    statistic [K]: with the study's coins. p [K]: of each attack alone, one-sided. p_adjusted [K]: adjusted for K
    attacks, by the largest standardized statistic of a redraw (Westfall & Young 1993, single step): the probability of
    any false rejection at 5 % is at most 5 % per study, also if other attacks do leak. strongest: index of the highest
    standardized statistic.
    """

    statistic: np.ndarray
    p: np.ndarray
    p_adjusted: np.ndarray
    strongest: int

    @property
    def p_strongest(self) -> float:
        """p of 'the strongest attack distinguishes members', adjusted for the number of attacks."""
        return float(self.p_adjusted[self.strongest])


@dataclass(frozen=True)
class Redrawn:
    """values [K, 1 + D]: statistics of K attacks, first under the study's own coins, then under D redraws, which are
    the same for all attacks.
    """

    values: np.ndarray

    def of(self, attacks: Sequence[int] | None = None) -> Shown:
        """The test of some of the attacks, by their places, or of all; in `strongest` they are counted anew."""
        values = self.values if attacks is None else self.values[list(attacks)]
        # Standardized over the study's own coins and all redraws alike, so that they stay exchangeable.
        spread = values.std(-1, keepdims=True)
        centered = values - values.mean(-1, keepdims=True)
        standardized = np.divide(centered, spread, out=np.zeros_like(values), where=spread > ROUNDING)
        alone = (values >= values[:, :1] - ROUNDING).mean(-1)
        together = (standardized.max(0) >= standardized[:, :1] - ROUNDING).mean(-1)
        return Shown(values[:, 0].copy(), alone, together, int(standardized[:, 0].argmax()))


def independent_coins(probability: float, replicates: int, records: int, persons: np.ndarray | None = None) -> Law:
    """The law of a panel: every unit is IN with the same probability, and every replicate has both kinds.

    ValueError for a probability outside (0, 1), or a single unit.
    """
    if not 0 < probability < 1:
        raise ValueError(f"independent_coins: needs a probability between 0 and 1, got {probability}")
    unit = units_of(persons, records)
    units = int(unit.max()) + 1
    if units < 2:
        raise ValueError("independent_coins: a single unit cannot be both IN and OUT")

    def law(random: np.random.Generator, count: int) -> np.ndarray:
        coins = random.random((count, replicates, units), dtype=np.float32) < probability
        while (bad := coins.all(-1) | ~coins.any(-1)).any():
            coins[bad] = random.random((int(bad.sum()), units), dtype=np.float32) < probability
        return coins[..., unit]

    return law


def permuted_coins(member: np.ndarray, persons: np.ndarray | None = None) -> Law:
    """The law of a design with fixed numbers of IN units per replicate: those of member [R, J], in random order."""
    unit = units_of(persons, member.shape[-1])
    coins = member[..., np.unique(unit, return_index=True)[1]]

    def law(random: np.random.Generator, count: int) -> np.ndarray:
        return random.permuted(np.broadcast_to(coins, (count, *coins.shape)), axis=-1)[..., unit]

    return law


def mean_aucs(scores: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean AUC over replicates, [D], of scores [R, J] or [D, R, J] under coins [D, R, J]; by rank sums, ties half."""
    inside = members.sum(-1)
    if scores.ndim == members.ndim:
        sums = _rank_sums(scores, members)
    else:
        each = zip(members.swapaxes(0, 1).astype(float), rankdata(scores, axis=-1), strict=True)
        sums = np.stack([coins @ ranks for coins, ranks in each], 1)
    return ((sums - inside * (inside + 1) / 2) / (inside * (scores.shape[-1] - inside))).mean(-1)


def _rank_sums(scores: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Sums [D, R] of the members' ranks, from 1, in scores [D, R, J]; equal scores share their mean rank.

    Exact, as `rankdata` is, which is asked for rows with ties alone: it takes twice as long.
    """
    order = scores.argsort(-1)
    sums = np.take_along_axis(members, order, -1) @ np.arange(1.0, scores.shape[-1] + 1)
    ascending = np.take_along_axis(scores, order, -1)
    ties = (ascending[..., 1:] == ascending[..., :-1]).any(-1)
    sums[ties] = np.where(members[ties], rankdata(scores[ties], axis=-1), 0).sum(-1)
    return sums


def adjusted_mean_aucs(scores: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The same minus the control variate, recomputed for every draw: more power if records differ in difficulty.

    Sorts every row of every draw, about 50 times as slow as `mean_aucs`; needs two replicates.
    """
    return with_control_variate(np.broadcast_to(scores, members.shape), members).auc.mean(-1)


def redrawn(
    attacks: Sequence[np.ndarray | Derived],
    member: np.ndarray,
    law: Law,
    random: np.random.Generator,
    draws: int = DRAWS,
    statistic: Statistic = mean_aucs,
) -> Redrawn:
    """K attacks, each scores [R, J] or a function from coins to scores, under coins [R, J] and redraws by their law.

    Any part of the attacks can then be tested by the same draws. ValueError without attacks or draws, or if shapes
    disagree.
    """
    if not attacks or draws < 1:
        raise ValueError(f"redrawn: needs attacks and draws, got {len(attacks)} and {draws}")
    values = np.empty((len(attacks), 1 + draws))
    values[:, :1] = _statistics(attacks, member[None], statistic)
    for start in range(1, 1 + draws, DRAWS_AT_ONCE):
        count = min(DRAWS_AT_ONCE, 1 + draws - start)
        values[:, start : start + count] = _statistics(attacks, law(random, count), statistic)
    return Redrawn(values)


def _statistics(attacks: Sequence[np.ndarray | Derived], members: np.ndarray, statistic: Statistic) -> np.ndarray:
    """Statistics [K, D] under coins [D, R, J]."""
    rows = []
    for attack in attacks:
        if callable(attack):
            rows.append(statistic(np.broadcast_to(attack(members), members.shape), members))
        elif attack.shape != members.shape[1:]:
            raise ValueError(f"redrawn: scores {attack.shape} and members {members.shape[1:]} do not match")
        else:
            rows.append(statistic(attack, members))
    return np.stack(rows)
