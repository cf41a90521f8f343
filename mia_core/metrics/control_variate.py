"""A control variate for a cell's mean AUC: part of its noise is which records the coins brought in, and that is known.

Some records look like members to an attack in every replicate, trained on or not. When coins bring many of them in, the
AUC of that replicate is high. How a record scores in the *other* replicates tells which ones they are; the AUC of that
base against the coins of replicate r has expectation 1/2 exactly, for those coins were drawn apart from it. What it is
above 1/2 is chance, and a multiple of it is taken off.
"""

import numpy as np
from scipy.stats import rankdata

from mia_core.metrics.influence import Aucs, aucs
from mia_core.metrics.two_way import MIN_REPLICATES

DECIMALS = 12
"""Of base scores, whose ties would else be broken by rounding."""


def applies(replicates: int) -> bool:
    """The rule, fixed before any score is seen: in means of single cells from 5 replicates on, whatever they show.

    Never in weighted sums of cells that judge the same records: there the difficulty that they share cancels already.
    """
    return replicates >= MIN_REPLICATES


def base_scores(scores: np.ndarray, member: np.ndarray) -> np.ndarray:
    """How much each record looks like a member in the other replicates: [..., R, J] from scores and members [..., R,
    J].

    base_ir = mean over q != r of (rank_iq / J - c_iq shift_r), c the coins and shift_r the mean over q != r of the
    members' mean rank / J less the non-members': without it a record that was IN more often would look higher.
    Ranks are midranks inside a replicate. Needs two replicates.
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
    """AUCs and influences of a cell's replicates, scores and members [..., R, J], less beta times the variate's.

    C_r = AUC(base, coins of r) - 1/2 with influences J_ir; beta = sum I J / sum J^2 over all units and replicates, the
    least-squares slope (0 where the variate is constant); A_r - beta C_r and I_ir - beta J_ir. ValueError with a single
    replicate, and as `aucs`.
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
