"""Scores of releases whose true leakage is known, for tests of decisions: several correlated attacks, persons."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Release:
    """score [attacks, Q], member, person [Q] of one release."""

    score: np.ndarray
    member: np.ndarray
    person: np.ndarray


def shift_of(auc):
    """By how much members score higher, in standard deviations, for that AUC of normal scores."""
    return np.sqrt(2) * norm.ppf(auc)


def release(random, aucs, members=1000, others=1000, correlation=0.6, records=(1,), alike=0.5):
    """Normal scores of persons with numbers of records drawn from `records`, of which `alike` is the person's own.

    aucs: of each attack. correlation: of any two attacks' scores of one record.
    """
    counts = random.choice(records, members + others)
    person = np.repeat(np.arange(members + others), counts)
    member = person < members

    def noise(shape_of_attacks):
        own = random.normal(size=(shape_of_attacks, members + others))[:, person]
        rest = random.normal(size=(shape_of_attacks, len(person)))
        return np.sqrt(alike) * own + np.sqrt(1 - alike) * rest

    score = np.sqrt(correlation) * noise(1) + np.sqrt(1 - correlation) * noise(len(aucs))
    return Release(score + shift_of(np.asarray(aucs))[:, None] * member, member, person)


def tpr_of(auc, fpr=0.01):
    """The TPR of those scores at an FPR."""
    return norm.sf(norm.isf(fpr) - shift_of(auc))


def replaying(random, probability, samples=5000, members=1000, others=1000):
    """Scores of a distance attack on a sampler that replays a member with this probability in each sample, and the
    number of samples that do: a replayed member is nearer than any other record, and the others are alike.
    """
    replays = int(random.binomial(samples, probability))
    score = random.normal(size=members + others)
    score[np.unique(random.integers(members, size=replays))] = 10.0
    member = np.arange(members + others) < members
    return Release(score[None], member, np.arange(members + others)), replays
