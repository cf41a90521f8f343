"""The worst persons of one release: how surely those members are named who stand out most.

One release says little of one person alone: with m non-member persons, a member's rank among non-members is known to
about 1 / m, and of n members some rank first by chance. So the statement is about the WORST members who stand out most,
together: of all persons who score at least as high as they do, the share of members if half of those asked about are
members. It is a posterior probability at prior 1/2, averaged over these persons; one of them may be named more surely.

The upper bound is for these members as they are. The lower one also allows for chance: other members might stand out.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from mia_core.metrics.influence import units_of
from mia_core.metrics.low_fpr_bounds import share_bounds, tpr_bounds

WORST = 20
"""So many member persons who stand out most are judged together."""


@dataclass(frozen=True)
class WorstPersons:
    """share, low, high: the posterior share of members, in [0, 1], with one-sided bounds. 1/2: as by guessing.

    named, others: member and non-member persons who score at least as high as the WORST-th member person.
    first: member persons above every non-member person, of whom some are by chance.
    """

    share: float
    low: float
    high: float
    named: int
    others: int
    first: int


def worst_persons(
    score: np.ndarray, member: np.ndarray, low_tail: float, high_tail: float, persons: np.ndarray | None = None
) -> WorstPersons | None:
    """From score [Q], higher = more likely a member, member bool [Q] and persons [Q]; None with under WORST members.

    The share is t / (t + f), t and f the shares of member persons and of other persons that are named. high: from the
    lower bound of f at the members' own threshold (Clopper & Pearson). low: from the upper bound of the FPR at which
    a share WORST / n of all persons like the n members is named (`tpr_bounds`, with the sides exchanged). low_tail,
    high_tail: their error probabilities. ValueError if shapes disagree or there is no non-member.
    """
    found, inside = person_scores(score, member, persons)
    members, others = np.sort(found[inside])[::-1], found[~inside]
    if not len(others):
        raise ValueError("worst_persons: needs non-members")
    if len(members) < WORST:
        return None
    threshold = members[WORST - 1]
    named, called = int((members >= threshold).sum()), int((others >= threshold).sum())
    t = named / len(members)
    f, below = called / len(others), share_bounds(called, len(others), high_tail)[0]
    high = t / (t + below)
    low = 0.5
    if named < len(members):
        wanted = WORST / len(members)
        low = wanted / (wanted + tpr_bounds(found, ~inside, low_tail, fpr=wanted)[1])
    return WorstPersons(t / (t + f), min(low, high), high, named, called, int((members > others.max()).sum()))


def person_scores(
    score: np.ndarray, member: np.ndarray, persons: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """One score per person and whether they are members, [P] each; a person with records on both sides counts on both.

    Of several records the highest, adjusted for their number k: q the share of all records that score at least as high,
    the person's score is -(1 - (1 - q)^k), as for k independent records (Sidak 1967). ValueError if shapes disagree.
    """
    if score.shape != member.shape or np.isnan(score).any():
        raise ValueError(f"person_scores: scores {score.shape} must match {member.shape}, and none be NaN")
    unit = units_of(persons, len(score)) * 2 + member
    keys, place = np.unique(unit, return_inverse=True)
    share = rankdata(-score, method="max") / len(score)
    best = np.full(len(keys), 1.0)
    np.minimum.at(best, place, share)
    with np.errstate(divide="ignore"):
        return np.expm1(np.bincount(place) * np.log1p(-best)), keys % 2 == 1
