"""Authenticity (Alaa, van Breugel, Saveliev, van der Schaar 2022): the share of samples that are no noisy copies."""

import torch

from mia_core.distances import nearest

VERSIONS = {"authenticity": 1}
"""Of the measure's values; a change that alters them raises it."""
AUTHENTICITY = tuple(VERSIONS)


def authenticity(samples_MD: torch.Tensor, members_ND: torch.Tensor) -> float:
    """The share in [0, 1] of samples that are farther from their nearest member than that member's nearest other one.

    Deviation: in the space it is given, pixels or features; the paper embeds records in a hypersphere. ValueError with
    a single member.
    """
    distance, place = nearest(samples_MD.double(), members_ND, 1)
    hit = place[:, 0].unique()
    apart = torch.zeros(len(members_ND), dtype=torch.float64)
    apart[hit] = nearest(members_ND[hit].double(), members_ND, 2)[0][:, 1]
    return float((distance[:, 0] > apart[place[:, 0]]).double().mean())
