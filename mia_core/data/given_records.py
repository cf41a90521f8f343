"""What is known of records that a user names for a release: the part of each, its person, and facts of its file."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mia_core.hashing import array_digest

MEMBER, NON_MEMBER, REFERENCE = 0, 1, 2
PARTS = ("members", "non_members", "reference")
"""Parts by number: trained on, not trained on, and records that an attacker has besides."""


@dataclass(frozen=True)
class LeftOut:
    """A record that is not used. file: with its part before it. equals: the record that it equals, or whose person it
    shares. reason: in words, without names.
    """

    file: str
    equals: str
    reason: str


@dataclass(frozen=True)
class GivenRecords:
    """Beside a pool, a row per record.

    part: int64 [N], of MEMBER, NON_MEMBER, REFERENCE. facts: float64 [N, F] of the files, without images, see
    `file_facts`; None if records are no files. persons: names, None where nobody named one; as private as files.
    left_out: records that were in the folders. notes: what was done to the images, in words without names. size,
    channels, quality: how images were brought to one form; quality of the JPEG encoding that all went through, or None.
    """

    part: np.ndarray
    facts: np.ndarray | None = None
    persons: Sequence[str | None] = field(default=(), repr=False)
    left_out: Sequence[LeftOut] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    quality: int | None = None

    @property
    def digest(self) -> str:
        """Hash of the parts and of the facts."""
        return array_digest(self.part, *([] if self.facts is None else [self.facts]))

    def counts(self) -> dict[str, int]:
        """Records by part."""
        return {name: int((self.part == number).sum()) for number, name in enumerate(PARTS)}

    def reasons(self) -> dict[str, int]:
        """Records left out, by reason."""
        words = [item.reason for item in self.left_out]
        return {reason: words.count(reason) for reason in dict.fromkeys(words)}
