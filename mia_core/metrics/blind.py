"""The blind control (access NONE): can members be distinguished from non-members without any target?

A kernel ridge classifier on the queries' pixels, or on facts of their files, cross-validated with whole units held out.
Its predictions are linear in the labels, so one matrix product refits the classifier exactly to every permutation of
them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import rankdata

from mia_core.streams import Streams

LARGEST = 2000
"""Maximal number of members, and of non-members, that are used: the kernel is a square matrix."""
FOLDS = 5
RIDGE = 0.3
ALPHA = 0.05
DETECTED = 0.8
"""Level of the one-sided test, and the probability with which it finds `smallest_auc`."""
SETTINGS = {"classifier": "kernel ridge", "ridge": RIDGE, "folds": FOLDS, "largest": LARGEST}
"""What a result's row records about the classifier."""


@dataclass(frozen=True)
class Blind:
    """queries [K]: positions of the records used. score [K] float32, held-out, higher = more like a member.

    p_value: one-sided, (1 + permutations with at least the observed AUC) / (1 + permutations); uniform or larger if
    membership was drawn by fair lots over units. smallest_auc: the least expected AUC of the classifier that the test
    finds with a probability of DETECTED, see `smallest_found`.
    """

    queries: np.ndarray
    score: np.ndarray
    p_value: float
    smallest_auc: float


def blind(images: np.ndarray, member: np.ndarray, units: np.ndarray, streams: Streams, permutations: int) -> Blind:
    """Classify queries, uint8 [Q,C,H,W], as member bool [Q]; records with the same number in `units` [Q] share a label.

    ValueError unless there are members and non-members.
    """
    return blind_to(lambda chosen: images[chosen].reshape(len(chosen), -1) / 255, member, units, streams, permutations)


def blind_to(
    points: Callable[[np.ndarray], np.ndarray],
    member: np.ndarray,
    units: np.ndarray,
    streams: Streams,
    permutations: int,
) -> Blind:
    """The same, of any description of the queries. points: float64 [K,D] of the queries at positions [K]."""
    if member.all() or not member.any():
        raise ValueError(f"blind: needs members and non-members, got {member.sum()} members of {len(member)} queries")
    chosen = _subset(member, units, streams)
    _, first, unit = np.unique(units[chosen], return_index=True, return_inverse=True)
    hat = predictor(points(chosen), unit, streams)
    labels = permuted(member[chosen][first], unit, streams.numpy("permutations"), permutations)
    scores = (hat @ labels).astype(np.float32)
    auc = aucs(scores, labels)
    at_least = int((auc[1:] >= auc[0]).sum())
    return Blind(chosen, scores[:, 0], (1 + at_least) / (1 + permutations), smallest_found(auc[1:]))


def smallest_found(null: np.ndarray) -> float:
    """The least expected AUC that a test at ALPHA finds with probability DETECTED, from AUCs [P] under permutation.

    The test finds what exceeds their 1 - ALPHA quantile. An AUC that varies about its expectation as it does about 1/2
    under permutation exceeds that with probability DETECTED if its expectation is 1/2 and the difference between that
    quantile and the 1 - DETECTED quantile. At most 1.
    """
    critical, low = np.quantile(null, [1 - ALPHA, 1 - DETECTED])
    return float(min(1.0, 0.5 + critical - low))


def predictor(points: np.ndarray, unit: np.ndarray, streams: Streams) -> np.ndarray:
    """The matrix [K,K] that maps labels to held-out predictions; row i is zero at all records of i's fold.

    points: float64 [K,D], centered in place: they may be gigabytes.

    Ridge regression with a Gaussian kernel, whose width is the median distance between records. Labels are centered on
    each fold's training records, because their mean is low if many of the held-out records are members.
    """
    kernel = _kernel(points)
    fold = streams.numpy("folds").permutation(unit.max() + 1)[unit] % FOLDS
    hat = np.zeros_like(kernel)
    for number in np.unique(fold):
        test, train = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        among = kernel[np.ix_(train, train)]
        center = among.mean(0)
        among = among - center - center[:, None] + center.mean()
        towards = kernel[np.ix_(test, train)]
        towards = towards - towards.mean(1, keepdims=True) - center + center.mean()
        weights = cho_solve(cho_factor(among + RIDGE * np.eye(len(train))), towards.T).T
        hat[np.ix_(test, train)] = weights - weights.mean(1, keepdims=True)
    return hat


def _kernel(points: np.ndarray) -> np.ndarray:
    points -= points.mean(0)
    norms = np.square(points).sum(1)
    squared = np.maximum(norms[:, None] + norms - 2 * points @ points.T, 0)
    return np.exp(-squared / (2 * max(float(np.median(squared)), np.finfo(float).tiny)))


def permuted(labels: np.ndarray, unit: np.ndarray, random: np.random.Generator, count: int) -> np.ndarray:
    """bool [K,1+count]: labels of the records, from labels of units [U]; unpermuted in the first column only."""
    draws = np.tile(labels, (1 + count, 1))
    draws[1:] = random.permuted(draws[1:], axis=1)
    return draws[:, unit].T


def aucs(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """AUC of each column of scores [K,P] against the same column of labels [K,P]; ties count half."""
    inside = labels.sum(0)
    wins = np.where(labels, rankdata(scores, axis=0), 0).sum(0) - inside * (inside + 1) / 2
    return wins / (inside * (len(labels) - inside))


def _subset(member: np.ndarray, units: np.ndarray, streams: Streams) -> np.ndarray:
    """Positions [K], ascending, of up to LARGEST records per label, by whole units in random order."""
    rank = streams.numpy("subset").permutation(units.max() + 1)[units]
    sides = (np.flatnonzero(side) for side in (member, ~member))
    return np.sort(np.concatenate([side[np.argsort(rank[side], kind="stable")][:LARGEST] for side in sides]))
