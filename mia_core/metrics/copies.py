"""Copies: samples that lie much nearer to one training record than to the next ones, calibrated on unseen persons.

The ratio of a point is its distance to the nearest member over the mean distance to its k next members (Carlini et al.
2023, 'Extracting training data from diffusion models', scale distances so for CIFAR-10). Small ratios are copies. How
small is learned from unseen records, which copy nobody. Those of one person resemble each other, and so do their
ratios: each unseen person counts once, with the smallest of the person's ratios.

Shapes: M samples, N members, U unseen records of V persons, D dimensions (pixels or features), k neighbors.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from mia_core.distances import nearest

VERSIONS = {"copies": 1, "members_copied": 1, "persons_copied": 1}
"""Of each measure's values; a change that alters them raises it."""
BY_PERSON = 2
"""The version of all of them where unseen persons have several records; version 1 counted each record there."""
COPIES = tuple(VERSIONS)
ALPHA = 0.01
NEIGHBORS = 10
BLOCK_ELEMENTS = 2**22
"""Distances held at once: 32 MiB."""


@dataclass(frozen=True)
class Copies:
    """copies, members_copied, persons_copied: shares in [0, 1] of the samples, the members and their persons.

    pairs: int64 [P, 2], each sample that is a copy, and the place of its member. ratios: float64 [P], of those samples.
    """

    copies: float
    members_copied: float
    persons_copied: float
    pairs: np.ndarray
    ratios: np.ndarray


def rank_of(alpha: float, unseen: int) -> int:
    """floor(alpha (V + 1)): which of V unseen persons' ratios, ascending, is the threshold; 0 where none can be."""
    return math.floor(alpha * (unseen + 1) + 1e-9)


def fewest_unseen(alpha: float) -> int:
    """The fewest unseen persons that give a threshold."""
    return math.ceil(1 / alpha - 1e-9) - 1


def find_copies(
    samples_MD: torch.Tensor,
    members_ND: torch.Tensor,
    unseen_UD: torch.Tensor,
    persons_N: np.ndarray,
    persons_U: np.ndarray,
    alpha: float = ALPHA,
    neighbors: int = NEIGHBORS,
) -> Copies | None:
    """Samples whose ratio is below the rank floor(alpha (V + 1)) of the unseen persons' ratios; None where that is 0.

    A person's ratio is the smallest of the ratios of the person's records. One more unseen person, with all records,
    is exchangeable with the V others given the members, so any record of theirs is called a copy with probability at
    most floor(alpha (V + 1)) / (V + 1) <= alpha: the false-copy rate. It is an expectation over unseen persons, not
    over samples: samples that are worse or blurrier than records have larger ratios, and are called copies less often.
    A sample copies its nearest member. persons_N, persons_U: whose record each member, and each unseen record, is;
    nobody is among both. ValueError with at most k members.
    """
    unseen_persons, person_U = np.unique(persons_U, return_inverse=True)
    rank = rank_of(alpha, len(unseen_persons))
    if rank < 1:
        return None
    smallest_V = np.full(len(unseen_persons), np.inf)
    np.minimum.at(smallest_V, person_U, ratios(unseen_UD, members_ND, neighbors)[0])
    found, member = ratios(samples_MD, members_ND, neighbors)
    sample = np.flatnonzero(found < np.sort(smallest_V)[rank - 1])
    copied = member[sample]
    return Copies(
        copies=len(sample) / len(found),
        members_copied=len(np.unique(copied)) / len(members_ND),
        persons_copied=len(np.unique(persons_N[copied])) / len(np.unique(persons_N)),
        pairs=np.stack([sample, copied], axis=1),
        ratios=found[sample],
    )


def ratios(x_XD: torch.Tensor, members_ND: torch.Tensor, neighbors: int = NEIGHBORS) -> tuple[np.ndarray, np.ndarray]:
    """float64 [X] of points x, and int64 [X], the place of each one's nearest member.

    A point that lies on k + 1 equal members has ratio 0. ValueError with at most k members.
    """
    rows = max(1, BLOCK_ELEMENTS // len(members_ND))
    distance, place = nearest(x_XD.double(), members_ND, neighbors + 1, chunk=rows)
    first, others = distance[:, 0], distance[:, 1:].mean(1)
    ratio = torch.where(others > 0, first / others, 0.0)
    return ratio.numpy(), place[:, 0].numpy()
