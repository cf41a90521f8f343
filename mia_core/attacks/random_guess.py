"""LOGAN's random baseline: scores that know nothing, so that chance stands in the same table as the attacks."""

import hashlib

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.streams import Streams


@ATTACKS.register
class Random(Attack):
    """Uniform in [0, 1), by the stream and the query's own content: whom else one asks about changes nothing."""

    name = "random"
    uses: frozenset[str] = frozenset()

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """One number a query."""
        salt = rng.seed("random").to_bytes(8, "big")
        digests = (hashlib.sha256(salt + query.numpy().tobytes()).digest() for query in queries.cpu())
        values = [int.from_bytes(digest[:3], "big") / 2**24 for digest in digests]
        return Scores(self.levels, torch.tensor([values]))
