"""LOGAN's random baseline: scores without information, so that tables show chance level beside the attacks."""

import hashlib

import torch

from mia_core.access import View
from mia_core.attacks.attack import ATTACKS, Attack, Knowledge, Scores
from mia_core.streams import Streams


@ATTACKS.register
class Random(Attack):
    """Uniform scores in [0, 1), a hash of the stream and the query's pixels; they do not depend on other queries."""

    name = "random"
    uses: frozenset[str] = frozenset()

    def run(self, view: View, queries: torch.Tensor, knowledge: Knowledge, rng: Streams) -> Scores:
        """One number per query, [1,Q]."""
        salt = rng.seed("random").to_bytes(8, "big")
        digests = (hashlib.sha256(salt + query.numpy().tobytes()).digest() for query in queries.cpu())
        values = [int.from_bytes(digest[:3], "big") / 2**24 for digest in digests]
        return Scores(self.levels, torch.tensor([values]))
