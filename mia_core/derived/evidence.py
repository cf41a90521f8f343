"""What a derived attack takes: scores of targets, and of the trainings that serve as their references.

Shapes: K attacks, R targets, S reference trainings, Q queries, D pixels. A reference training is another replicate of
the cell, or a shadow. Its coins are known to the attacker. A target's own coins never enter its reference: a derived
score of a target that leaks nothing is independent of the target's coins, so its AUC has expectation exactly 1/2.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata


@dataclass(frozen=True)
class Evidence:
    """Scores of R targets and of their S reference trainings.

    score [K,R,Q], reference [K,S,Q]: of K attacks, a single one for all but ensembles. member bool [...,S,Q]: of the
    reference trainings; leading axes are alternatives, such as redrawn coins. uses bool [R,S]: which trainings are the
    reference of which target. unit [Q]: the person or set of duplicates of each query. never_member bool [Q]: queries
    that no training of the study has among its members. records [Q,D]: the queries themselves; both None where no
    attack takes them.
    """

    score: np.ndarray
    reference: np.ndarray
    member: np.ndarray
    uses: np.ndarray
    unit: np.ndarray
    never_member: np.ndarray | None = None
    records: np.ndarray | None = None

    def __post_init__(self) -> None:
        (kinds, targets, queries), trainings = self.score.shape, self.reference.shape[1]
        expected = ((kinds, trainings, queries), (trainings, queries), (targets, trainings), (queries,))
        found = (self.reference.shape, self.member.shape[-2:], self.uses.shape, self.unit.shape)
        if expected != found or self.member.dtype != np.bool_ or self.uses.dtype != np.bool_:
            raise ValueError(f"derived attacks: scores {self.score.shape} take {expected}, got {found}")
        given = [part for part in (self.never_member, self.records) if part is not None]
        if any(len(part) != queries for part in given):
            raise ValueError(f"derived attacks: {queries} queries, and {[len(part) for part in given]} are described")

    @classmethod
    def leave_one_out(cls, score: np.ndarray, member: np.ndarray, unit: np.ndarray | None = None) -> "Evidence":
        """Each replicate with all others as its reference: score [K,R,Q], or [R,Q] of one attack; member [...,R,Q]."""
        return cls.among(all_others(score.shape[-2]), score, member, unit)

    @classmethod
    def forward(cls, score: np.ndarray, member: np.ndarray, unit: np.ndarray | None = None) -> "Evidence":
        """Each replicate r with the replicates q < r as its reference: what audits may pool over replicates."""
        return cls.among(all_before(score.shape[-2]), score, member, unit)

    @classmethod
    def shadows(
        cls, score: np.ndarray, reference: np.ndarray, member: np.ndarray, unit: np.ndarray | None = None
    ) -> "Evidence":
        """All targets with the same shadows [K,S,Q] as their reference, which have members [...,S,Q]."""
        score, reference = _several(score), _several(reference)
        uses = np.ones((score.shape[1], reference.shape[1]), dtype=bool)
        return cls(score, reference, member, uses, _units(unit, score))

    @classmethod
    def among(
        cls, uses: np.ndarray, score: np.ndarray, member: np.ndarray, unit: np.ndarray | None = None
    ) -> "Evidence":
        """Replicates as each other's references, as uses [R,R] says."""
        score = _several(score)
        return cls(score, score, member, uses, _units(unit, score))

    @cached_property
    def standardized(self) -> "Evidence":
        """With mean 0 and variance 1 over the queries of each training; constant scores become 0."""
        return replace(self, score=_standardized(self.score), reference=_standardized(self.reference))

    @cached_property
    def normal(self) -> "Evidence":
        """With the normal scores of each training, see `normal_scores`."""
        return replace(self, score=normal_scores(self.score), reference=normal_scores(self.reference))

    @property
    def single(self) -> tuple[np.ndarray, np.ndarray]:
        """score [R,Q] and reference [S,Q] of the one attack that there is."""
        if len(self.score) != 1:
            raise ValueError(f"derived attacks: takes one attack, got {len(self.score)}")
        return self.score[0], self.reference[0]

    def side(self, inside: bool) -> "Side":
        """Sums over each target's reference trainings that had a record among their members, or had not."""
        _, reference = self.single
        there = (self.member if inside else ~self.member).astype(float)
        uses = self.uses.astype(float)
        values = there * reference
        return Side(uses @ there, uses @ values, uses @ (values * reference))

    def where_referenced(self, derived: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
        """derived [...,R,Q], but `otherwise` [R,Q] for targets without any reference, as the first one forward."""
        return np.where(self.uses.any(-1, keepdims=True), derived, otherwise)


@dataclass(frozen=True)
class Side:
    """Of one side: count, total, square [...,R,Q]: reference trainings, and sums of their scores and of the squares."""

    count: np.ndarray
    total: np.ndarray
    square: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The mean score, [...,R,Q]; 0 where there is no training on this side."""
        return divided(self.total, self.count)

    @property
    def overall(self) -> np.ndarray:
        """The mean over all records and trainings of this side, [...,R,1]; 0 without any."""
        return divided(self.total.sum(-1, keepdims=True), self.count.sum(-1, keepdims=True))


def all_others(replicates: int) -> np.ndarray:
    """uses [R,R]: each replicate has all others as its reference."""
    return ~np.eye(replicates, dtype=bool)


def all_before(replicates: int) -> np.ndarray:
    """uses [R,R]: each replicate has those before it as its reference."""
    return np.tri(replicates, k=-1, dtype=bool)


def one_way(replicates: int) -> np.ndarray:
    """uses [R,R]: of two replicates, one is a reference of the other, and never both of each other.

    Each replicate has those before it, but the first has the third, which has the second alone: so from three
    replicates on each has one, and further replicates change nothing for earlier ones. Let r learn one direction from
    the coins of others, as the weights of attacks. If nothing leaks, its AUC has expectation 1/2 given all coins but
    its own. Where q does not learn from r, the AUC of q does not depend on these, so both are uncorrelated, and the
    spread over replicates estimates the variance of their mean. Where both learn from each other, as in `all_others`,
    both AUCs have the same product of r's coins and q's: the variance of the mean is up to twice what the spread says.
    """
    uses = all_before(replicates)
    if replicates > 2:
        uses[0, 2], uses[2, 0] = True, False
    return uses


def divided(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, 0 where the denominator is not above 0; both are broadcast."""
    numerator, denominator = np.broadcast_arrays(numerator, denominator)
    return np.divide(numerator, denominator, out=np.zeros(numerator.shape), where=denominator > 0)


def normal_scores(score: np.ndarray) -> np.ndarray:
    """The normal quantile of each score's rank within its training, [...,Q]; equal scores have their mean rank."""
    found: np.ndarray = ndtri((rankdata(score, axis=-1) - 0.5) / score.shape[-1])
    return found


def _standardized(score: np.ndarray) -> np.ndarray:
    centered = score - score.mean(-1, keepdims=True)
    return divided(centered, score.std(-1, keepdims=True))


def _units(unit: np.ndarray | None, score: np.ndarray) -> np.ndarray:
    return np.arange(score.shape[-1]) if unit is None else unit


def _several(score: np.ndarray) -> np.ndarray:
    """[K,R,Q] of scores [R,Q] or [K,R,Q], in double precision."""
    return np.asarray(score, dtype=float).reshape(-1, *score.shape[-2:])
