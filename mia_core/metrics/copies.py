"""Copies: samples that lie much nearer to one training record than to the next ones, calibrated on unseen records.

The ratio of a point is its distance to the nearest member over the mean distance to its k next members (Carlini et al.
2023, 'Extracting training data from diffusion models', scale distances so for CIFAR-10). Small ratios are copies. How
small is learned from unseen records, which copy nobody.

Shapes: M samples, N members, U unseen records, D dimensions (pixels or features), k neighbors.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch

from mia_core.distances import nearest

VERSIONS = {"copies": 1, "members_copied": 1, "persons_copied": 1}
"""Of each measure's values; a change that alters them raises it."""
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
    """floor(alpha (U + 1)): which of the unseen records' ratios, ascending, is the threshold; 0 where none can be."""
    return math.floor(alpha * (unseen + 1) + 1e-9)


def fewest_unseen(alpha: float) -> int:
    """The fewest unseen records that give a threshold."""
    return math.ceil(1 / alpha - 1e-9) - 1


def find_copies(
    samples_MD: torch.Tensor,
    members_ND: torch.Tensor,
    unseen_UD: torch.Tensor,
    persons_N: np.ndarray,
    alpha: float = ALPHA,
    neighbors: int = NEIGHBORS,
) -> Copies | None:
    """Samples whose ratio is below the rank floor(alpha (U + 1)) of the unseen records' ratios; None where that is 0.

    One more unseen record is exchangeable with the U others, so its ratio is below that rank with probability at most
    floor(alpha (U + 1)) / (U + 1) <= alpha: the false-copy rate. It is an expectation over unseen records, not over
    samples: samples that are worse or blurrier than records have larger ratios, and are called copies less often.
    A sample copies its nearest member. persons_N: whose record each member is. ValueError with at most k members.
    """
    rank = rank_of(alpha, len(unseen_UD))
    if rank < 1:
        return None
    unseen = ratios(unseen_UD, members_ND, neighbors)[0]
    found, member = ratios(samples_MD, members_ND, neighbors)
    sample = np.flatnonzero(found < np.sort(unseen)[rank - 1])
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
