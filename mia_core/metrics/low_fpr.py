"""TPR at a low FPR for a cell: pooled over its replicates, with an interval for 'records like these'.

A single target has too few non-members for an FPR of 1 %. So scores are converted to ranks within each replicate (among
members and non-members together, since an attacker ranks all candidates), and one threshold on ranks is used for all
replicates: the same share of every target's candidates is called. The attacker must know this threshold, which depends
on the share of members.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit
from scipy.stats import beta as beta_distribution
from scipy.stats import rankdata
from scipy.stats import t as student

from mia_core.metrics.influence import units_of
from mia_core.metrics.leakage import MIN_FALSE_POSITIVES
from mia_core.metrics.two_way import NO_VARIANCE, Estimate, Variance

GROUPS = 20
"""Number of groups of records that the jackknife leaves out, one at a time."""


@dataclass(frozen=True)
class LowFprTpr(Estimate):
    """TPR at `fpr`, pooled over a cell's replicates, with t limits on the logit scale.

    If it is 0 or 1, or nothing varied, limits are Clopper & Pearson's (1934) for one replicate's members. members: per
    replicate, on average. share: of members among the judged records, for which the threshold holds.
    """

    fpr: float
    members: float
    share: float

    def _limits(self, tail: float) -> tuple[np.ndarray, np.ndarray]:
        total, tpr = self.variance.total, self.estimate
        if np.isnan(total):
            return total, total
        if total < NO_VARIANCE or tpr in (0.0, 1.0):
            hits, misses = tpr * self.members, (1 - tpr) * self.members
            low = beta_distribution.ppf(tail, hits, misses + 1) if hits > 0 else 0.0
            high = beta_distribution.isf(tail, hits + 1, misses) if misses > 0 else 1.0
            return np.array(low)[()], np.array(high)[()]
        half = student.isf(tail, self.variance.df) * np.sqrt(total) / (tpr * (1 - tpr))
        return expit(logit(tpr) - half), expit(logit(tpr) + half)


def tpr_at_low_fpr(
    scores: np.ndarray,
    member: np.ndarray,
    random: np.random.Generator,
    persons: np.ndarray | None = None,
    fpr: float = 0.01,
) -> LowFprTpr | None:
    """From a cell's scores and members, [R, J] each; None if fewer than 10 false positives are expected in total.

    Equal ranks are broken at random, since equal ranks of different replicates are no ties of scores. In expectation
    this interpolates the pooled ROC linearly, and the FPR is exactly `fpr`.

    Variance: three delete-a-group jackknives (Kott 2001): over 20 groups of records, drawn by `random` (persons [J]
    stay together), over replicates, and over (group, replicate) blocks. The last is contained in both others and so is
    subtracted once (Cameron, Gelbach & Miller 2011): V = V_rep + max(0, V_group - V_block), or V_group if that is
    larger: groups show all of V except what is common to a replicate, and V_rep has few degrees of freedom. ValueError
    if shapes disagree, a score is NaN, or there is no member.
    """
    return pooled_roc(scores, member, random, np.array([fpr]), persons)[0]


def pooled_roc(
    scores: np.ndarray,
    member: np.ndarray,
    random: np.random.Generator,
    fprs: np.ndarray,
    persons: np.ndarray | None = None,
) -> list[LowFprTpr | None]:
    """The same at each of several FPRs in (0, 1): points of the pooled ROC, each with its own interval.

    ValueError for an FPR outside (0, 1), and as in `tpr_at_low_fpr`.
    """
    if ((fprs <= 0) | (fprs >= 1)).any():
        raise ValueError(f"tpr_at_low_fpr: needs FPRs between 0 and 1, got {fprs.min()} to {fprs.max()}")
    if scores.shape != member.shape or scores.ndim != 2 or np.isnan(scores).any() or not member.any():
        raise ValueError(
            f"tpr_at_low_fpr: needs members, and scores {scores.shape} that match {member.shape}, none NaN"
        )
    replicates, records = member.shape
    unit = units_of(persons, records)
    units = int(unit.max()) + 1
    groups = min(GROUPS, units)
    group = (random.permutation(units) % groups)[unit]
    counts = _counts(rankdata(scores, axis=-1), member, np.arange(replicates)[:, None] * groups + group)
    members, share = int(member.sum()) / replicates, float(member.mean())
    unknown = np.array(np.nan)
    found: list[LowFprTpr | None] = []
    for fpr in fprs.tolist():
        if int((~member).sum()) * fpr < MIN_FALSE_POSITIVES:
            found.append(None)
            continue
        tpr = _tpr(counts[0].sum(0), counts[1].sum(0), fpr)
        variance = _jackknife(*counts, replicates, fpr) if replicates > 1 else Variance(unknown, unknown, unknown)
        found.append(LowFprTpr(tpr, variance, replicates, fpr, members, share))
    return found


def _counts(rank: np.ndarray, member: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Members and non-members of each block at each rank, highest rank first: [blocks, ranks] each."""
    ranks, place = np.unique(-rank, return_inverse=True)
    shape = (int(block.max()) + 1, len(ranks))
    cell = block * len(ranks) + place.reshape(rank.shape)
    inside, outside = (np.bincount(cell[side], minlength=shape[0] * shape[1]) for side in (member, ~member))
    return inside.reshape(shape), outside.reshape(shape)


def _tpr(inside: np.ndarray, outside: np.ndarray, fpr: float) -> np.ndarray:
    """TPR at `fpr`, [...], from counts [..., ranks], highest rank first; 0 without members."""
    called, hits = np.cumsum(outside, -1), np.cumsum(inside, -1)
    allowed = fpr * called[..., -1:]
    # Indices of the ROC's points on both sides of the FPR, for linear interpolation between them.
    after = (called > allowed).argmax(-1)[..., None]
    before = np.maximum(after - 1, 0)
    low, high = np.take_along_axis(called, before, -1), np.take_along_axis(called, after, -1)
    some, more = np.take_along_axis(hits, before, -1), np.take_along_axis(hits, after, -1)
    first = after == 0
    low, some = np.where(first, 0, low), np.where(first, 0, some)
    found = some + (more - some) * (allowed - low) / (high - low)
    return (found / np.maximum(1, hits[..., -1:]))[..., 0]


def _jackknife(inside: np.ndarray, outside: np.ndarray, replicates: int, fpr: float) -> Variance:
    """Two-way variance of the TPR, from counts [replicates x groups, ranks]."""
    sides = [side.reshape(replicates, -1, side.shape[-1]) for side in (inside, outside)]
    groups = sides[0].shape[1]

    def left_out(parts: list[np.ndarray]) -> float:
        """(K - 1) / K times the sum of squared deviations of the K TPRs, each without one part."""
        found = _tpr(inside.sum(0) - parts[0], outside.sum(0) - parts[1], fpr)
        return float((len(found) - 1) ** 2 / len(found) * found.var(ddof=1))

    of_replicates = left_out([side.sum(1) for side in sides])
    of_groups = left_out([side.sum(0) for side in sides])
    of_records = max(0.0, of_groups - left_out([inside, outside]))
    total = of_replicates + of_records
    if of_groups > total:
        return Variance(np.array(of_replicates), np.array(of_groups - of_replicates), np.array(groups - 1.0))
    spread = of_replicates**2 / (replicates - 1) + of_records**2 / (groups - 1)
    df = total**2 / spread if spread > 0 else replicates - 1.0
    return Variance(np.array(of_replicates), np.array(of_records), np.array(df))
