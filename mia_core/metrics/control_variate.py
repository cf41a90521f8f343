"""A control variate for a cell's mean AUC: part of its noise comes from the coins, which are known.

Some records look like members to an attack in every replicate, trained on or not. If coins include many of them, the
AUC of that replicate is high. A record's scores in the *other* replicates show which records these are; the AUC of this
base score against the coins of replicate r has expectation exactly 1/2, since those coins were drawn independently of
it. Its deviation from 1/2 is chance, and a multiple of it is subtracted.
"""

import numpy as np
from scipy.stats import rankdata

from mia_core.metrics.influence import Aucs, aucs
from mia_core.metrics.two_way import MIN_REPLICATES

DECIMALS = 12
"""Base scores are rounded to so many decimals; otherwise rounding errors would break ties."""


def applies(replicates: int) -> bool:
    """Whether the control variate is used: for means of single cells from 5 replicates on, whatever their scores.

    Never for weighted sums of cells that judge the same records, in which the difficulty that they share cancels
    anyway.
    """
    return replicates >= MIN_REPLICATES


def base_scores(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """How much each record looks like a member in other replicates, [..., R, J], from scores and members [..., R, J].

    base_ir = mean over q != r of (rank_iq / J - c_iq shift_r), with coins c. shift_r is the mean over q != r of the
    members' mean rank / J minus the non-members'; without it, a record that was IN more often would get a higher base
    score. Ranks are midranks within a replicate. Needs two replicates.
    """
    others = scores.shape[-2] - 1
    rank = rankdata(scores, axis=-1) / scores.shape[-1]
    inside = member.sum(-1)
    in_members = np.where(member, rank, 0).sum(-1)
    gap = in_members / inside - (rank.sum(-1) - in_members) / (member.shape[-1] - inside)
    shift = (gap.sum(-1, keepdims=True) - gap) / others
    times_member = member.sum(-2, keepdims=True) - member
    base = (rank.sum(-2, keepdims=True) - rank - times_member * shift[..., None]) / others
    return np.round(base, DECIMALS)


def with_control_variate(scores: np.ndarray, member: np.ndarray, persons: np.ndarray | None = None) -> Aucs:
    """AUCs and influences of a cell's replicates, scores and members [..., R, J], minus beta times the variate's.

    C_r = AUC(base, coins of r) - 1/2 with influences J_ir; beta = sum I J / sum J^2 over all units and replicates, the
    least-squares slope (0 if the variate is constant). Returns A_r - beta C_r and I_ir - beta J_ir. ValueError for a
    single replicate, and as in `aucs`.
    """
    if scores.ndim < 2 or scores.shape[-2] < 2:
        raise ValueError(f"with_control_variate: needs scores of two replicates or more, got {scores.shape}")
    cell = aucs(scores, member, persons)
    variate = aucs(base_scores(scores, member), member, persons)
    square = (variate.influence**2).sum((-2, -1))
    product = (cell.influence * variate.influence).sum((-2, -1))
    beta = np.divide(product, square, out=np.zeros_like(square), where=square > 0)[..., None]
    return Aucs(
        cell.auc - beta * (variate.auc - 0.5),
        cell.influence - beta[..., None] * variate.influence,
        cell.members,
        cell.non_members,
    )
