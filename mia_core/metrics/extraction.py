"""Extraction: what an attacker who has samples alone takes for training records, because the model repeats it.

Carlini et al. 2023 ('Extracting training data from diffusion models', section 4) generate many samples, call those that
recur training records, and only then look at the training set: how many they took were right, and how many records they
got. How near samples must be to recur is learned from records that the attacker has, here unseen ones.

Shapes: M samples, N members, U unseen records of V persons, D dimensions (pixels or features).
"""

from dataclasses import dataclass

import numpy as np
import torch

from mia_core.distances import nearest
from mia_core.metrics.copies import rank_of

VERSIONS = {"extracted_members": 1, "extraction_precision": 1}
"""Of each measure's values; a change that alters them raises it."""
EXTRACTION = tuple(VERSIONS)
REPEATS = 3
BLOCK_ELEMENTS = 2**22
"""Distances held at once: 32 MiB."""


@dataclass(frozen=True)
class Extracted:
    """extracted_members: how many members, each counted once. extraction_precision: the share of what was taken for a
    training record that is one; None if nothing was.
    """

    extracted_members: int
    extraction_precision: float | None


def extract(
    samples_MD: torch.Tensor,
    members_ND: torch.Tensor,
    unseen_UD: torch.Tensor,
    persons_U: np.ndarray,
    alpha: float,
    repeats: int = REPEATS,
) -> Extracted | None:
    """Groups of at least `repeats` samples within a radius, each stood for by its middle, which is right if a member is
    within that radius; None where there are too few unseen persons for a radius.

    The radius is the rank floor(alpha (V + 1)) of the distances from unseen persons to the nearest record of another
    one, so that records of different persons are seldom so near. Deviation: the paper's groups are cliques of ten
    samples of one prompt.
    """
    radius = radius_of(unseen_UD, persons_U, alpha)
    if radius is None:
        return None
    middles = repeated(samples_MD, radius, repeats)
    if not len(middles):
        return Extracted(0, None)
    distance, place = nearest(samples_MD[middles].double(), members_ND, 1)
    right = distance[:, 0] <= radius
    return Extracted(len(place[:, 0][right].unique()), float(right.double().mean()))


def radius_of(unseen_UD: torch.Tensor, persons_U: np.ndarray, alpha: float) -> float | None:
    """The rank floor(alpha (V + 1)) of each unseen person's distance to the nearest other one; None where it is 0."""
    _, person = np.unique(persons_U, return_inverse=True)
    count = int(person.max()) + 1
    rank = rank_of(alpha, count)
    if rank < 1 or count < 2:
        return None
    points, numbers = unseen_UD.double(), torch.from_numpy(person)
    smallest_V = torch.full((count,), torch.inf, dtype=torch.float64)
    for rows in torch.arange(len(points)).split(max(1, BLOCK_ELEMENTS // len(points))):
        distance = _distances(points[rows], points)
        distance[numbers[rows][:, None] == numbers] = torch.inf
        smallest_V.scatter_reduce_(0, numbers[rows], distance.amin(1), "amin")
    return float(smallest_V.sort().values[rank - 1])


def repeated(samples_MD: torch.Tensor, radius: float, repeats: int) -> np.ndarray:
    """int64 [G]: middles of groups, the largest first: the sample with the most others within the radius takes these,
    as long as they are `repeats` with itself; of equal ones the first.
    """
    points = samples_MD.double()
    free = torch.ones(len(points), dtype=torch.bool)
    degree = _within(points, points, free, radius)
    middles = []
    while len(points) and int(degree.max()) >= repeats:
        middle = int(degree.argmax())
        group = free & (_distances(points[middle : middle + 1], points)[0] <= radius)
        middles.append(middle)
        free &= ~group
        degree -= _within(points, points[group], torch.ones(int(group.sum()), dtype=torch.bool), radius)
        degree[group] = 0
    return np.array(middles, dtype=np.int64)


def _within(x_XD: torch.Tensor, y_YD: torch.Tensor, free_Y: torch.Tensor, radius: float) -> torch.Tensor:
    """int64 [X]: how many free points of y lie within the radius of each point of x."""
    rows = max(1, BLOCK_ELEMENTS // max(1, len(y_YD)))
    return torch.cat([((_distances(part, y_YD) <= radius) & free_Y).sum(1) for part in x_XD.split(rows)])


def _distances(x_XD: torch.Tensor, y_YD: torch.Tensor) -> torch.Tensor:
    """By subtraction, so that equal points have distance 0."""
    return torch.cdist(x_XD, y_YD, compute_mode="donot_use_mm_for_euclid_dist")
