"""TPR at a low FPR of a cell: pooled over its replicates, with an interval for 'records like these'.

A single target has too few non-members to see a hundredth of them. So scores are turned into ranks inside each
replicate (among members and non-members together, for an attacker ranks all candidates), and one threshold on ranks
serves all replicates: the lowest at which at most the target FPR of all non-members is called. The attacker must know
it, which depends on the share of members.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta as beta_distribution
from scipy.stats import rankdata
from scipy.stats import t as student

from mia_core.metrics.influence import units_of
from mia_core.metrics.leakage import MIN_FALSE_POSITIVES
from mia_core.metrics.two_way import MIN_REPLICATES

GROUPS = 20
"""Groups of records that the jackknife leaves out, one at a time."""

ROUNDING = 1e-12
"""So that 0.01 of 1,000 non-members allows 10 of them."""


@dataclass(frozen=True)
class LowFpr:
    """TPR at `fpr`, pooled over a cell's replicates.

    variance, df: two-way, of the TPR. hits, members: called members and all, in (replicate, record) pairs. share: of
    members among the judged records, for which the threshold holds. replicates: descriptive below 5.
    """

    tpr: float
    fpr: float
    variance: float
    df: float
    hits: int
    members: int
    share: float
    replicates: int

    @property
    def descriptive(self) -> bool:
        """Whether there are too few replicates for inference."""
        return self.replicates < MIN_REPLICATES

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided t limits on the logit scale; Clopper & Pearson's of the mean replicate where no limit can be
        had."""
        return self.lower((1 + level) / 2), self.upper((1 + level) / 2)

    def lower(self, level: float = 0.95) -> float:
        """The one-sided lower bound."""
        return self._limit(level, -1)

    def upper(self, level: float = 0.95) -> float:
        """The one-sided upper bound."""
        return self._limit(level, 1)

    def _limit(self, level: float, side: int) -> float:
        if np.isnan(self.variance):
            return float("nan")
        if self.variance <= 0 or self.tpr in (0.0, 1.0):
            return self._exact(level, side)
        half = student.ppf(level, self.df) * self.variance**0.5 / (self.tpr * (1 - self.tpr))
        return float(expit(logit(self.tpr) + side * half))

    def _exact(self, level: float, side: int) -> float:
        count = self.members / self.replicates
        hits = self.tpr * count
        if side < 0:
            return float(beta_distribution.ppf(1 - level, hits, count - hits + 1)) if hits > 0 else 0.0
        return float(beta_distribution.ppf(level, hits + 1, count - hits)) if hits < count else 1.0


def tpr_at_low_fpr(
    scores: np.ndarray,
    member: np.ndarray,
    random: np.random.Generator,
    persons: np.ndarray | None = None,
    fpr: float = 0.01,
) -> LowFpr | None:
    """Of a cell's scores and members, [R, J] each; None where fewer than 10 false positives are expected in all.

    Variance: a delete-a-group jackknife (Kott 2001) over 20 groups of records, drawn by `random` (persons [J] stay
    together), one over replicates, and one over (group, replicate) blocks, which is in both and so is taken off once
    (Cameron, Gelbach & Miller 2011): V = V_rep + max(0, V_group - V_block).
    """
    others = int((~member).sum())
    if others * fpr < MIN_FALSE_POSITIVES:
        return None
    replicates, records = member.shape
    rank = rankdata(scores, axis=-1) / records
    unit = units_of(persons, records)
    units = int(unit.max()) + 1
    groups = min(GROUPS, units)
    group = (random.permutation(units) % groups)[unit]
    replicate = np.broadcast_to(np.arange(replicates)[:, None], member.shape)
    block = replicate * groups + group
    tpr = _tpr(rank, member, fpr)
    variance, df = float("nan"), float("nan")
    if replicates > 1:
        variance, df = _jackknife(rank, member, block, groups, fpr)
    inside = int(member.sum())
    return LowFpr(tpr, fpr, variance, df, round(tpr * inside), inside, inside / member.size, replicates)


def _jackknife(rank: np.ndarray, member: np.ndarray, block: np.ndarray, groups: int, fpr: float) -> tuple[float, float]:
    """Two-way variance and its degrees of freedom; block [R, J] numbers (replicate, group)."""
    replicates = len(rank)
    each = np.eye(replicates * groups, dtype=bool)
    rows = each.reshape(-1, replicates, groups)
    left_out = (rows.any(2).repeat(groups, 1)[::groups], np.tile(rows.any(1), (1, replicates))[:groups], each)
    of_replicates, of_groups, of_blocks = (
        float((len(blocks) - 1) ** 2 / len(blocks) * _without(rank, member, block, blocks, fpr).var(ddof=1))
        for blocks in left_out
    )
    of_records = max(0.0, of_groups - of_blocks)
    spread = of_replicates**2 / (replicates - 1) + of_records**2 / (groups - 1)
    total = of_replicates + of_records
    return total, total**2 / spread if spread > 0 else replicates - 1.0


def _tpr(rank: np.ndarray, member: np.ndarray, fpr: float) -> float:
    """TPR of all pairs at the lowest threshold whose FPR is at most `fpr`."""
    outside = np.sort(rank[~member])
    # Everything above the first rank that is one false positive too many.
    allowed = int(fpr * len(outside) * (1 + ROUNDING))
    return float((rank[member] > outside[-1 - allowed]).mean())


def _without(rank: np.ndarray, member: np.ndarray, block: np.ndarray, left_out: np.ndarray, fpr: float) -> np.ndarray:
    """TPR, [D], without the blocks that left_out [D, blocks] names, at `fpr` by interpolation between thresholds.

    For in whole false positives the allowed number would drop for some deletions and not for others, which has nothing
    to do with how the TPR varies, and would double the jackknife's variance. 0 where no member is left.
    """
    outside, inside = (np.bincount(block[side], minlength=left_out.shape[1]) for side in (~member, member))
    left_outside, left_inside = outside.sum() - left_out @ outside, inside.sum() - left_out @ inside
    allowed = fpr * left_outside
    # No threshold is below so many of all non-members, whichever of them are left out.
    top = min(int(outside.sum()), int(np.ceil(fpr * outside.sum())) + 2 + int((left_out @ outside).max()))
    order = np.argsort(-rank[~member], kind="stable")[:top]
    ranks = rank[~member][order]
    called = np.cumsum(~left_out[:, block[~member][order]], axis=1, dtype=np.int32)
    above = rank[member] > ranks[-1]
    kept, ranks_inside = ~left_out[:, block[member][above]], rank[member][above]
    tprs = []
    for count in (np.floor(allowed), np.floor(allowed) + 1):
        threshold = ranks[(called > count[:, None]).argmax(1)]
        tprs.append((kept & (ranks_inside > threshold[:, None])).sum(1) / np.maximum(1, left_inside))
    share = allowed - np.floor(allowed)
    return (1 - share) * tprs[0] + share * tprs[1]
