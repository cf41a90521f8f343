"""Samples that equal a member pixel by pixel: a finding whatever their number, which needs no calibration."""

from dataclasses import dataclass

import numpy as np

VERSIONS = {"exact_copies": 1, "exact_members": 1}
"""Of each measure's values; a change that alters them raises it."""
EXACT = tuple(VERSIONS)


@dataclass(frozen=True)
class ExactCopies:
    """exact_copies, exact_members: shares in [0, 1] of the samples, and of the members.

    pairs: int64 [P, 2], each sample that equals members, and the place of the first such member.
    """

    exact_copies: float
    exact_members: float
    pairs: np.ndarray


def exact_copies(samples: np.ndarray, members: np.ndarray) -> ExactCopies:
    """Of samples uint8 [M,C,H,W] among members uint8 [N,C,H,W]; members that are equal all count."""
    places: dict[bytes, list[int]] = {}
    for place, image in enumerate(members):
        places.setdefault(image.tobytes(), []).append(place)
    found = [(number, places[key]) for number, image in enumerate(samples) if (key := image.tobytes()) in places]
    copied = {place for _, equal in found for place in equal}
    pairs = np.array([(number, equal[0]) for number, equal in found], dtype=np.int64).reshape(-1, 2)
    return ExactCopies(len(found) / len(samples), len(copied) / len(members), pairs)
