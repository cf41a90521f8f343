"""Random streams by name: every random number is a function of (seed, purpose, counter) and of nothing else.

A stream is never advanced by another one: evaluating a target, adding an attack, resuming at a step change no draw.
"""

import hashlib

import numpy as np
import torch

from mia_core.hashing import canonical_json


class Streams:
    """A node in a tree of independent random streams, e.g. `Streams(study_seed, replicate).torch("latent", step)`."""

    def __init__(self, *path: int | str) -> None:
        self.path = path

    def child(self, *names: int | str) -> "Streams":
        """The subtree below `names`."""
        return Streams(*self.path, *names)

    def seed(self, purpose: str, *counter: int | str) -> int:
        """A 63-bit seed, by hash of path, purpose and counter."""
        text = canonical_json([self.path, purpose, counter])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def torch(self, purpose: str, *counter: int | str, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh torch generator on `device`."""
        return torch.Generator(device=device).manual_seed(self.seed(purpose, *counter))

    def numpy(self, purpose: str, *counter: int | str) -> np.random.Generator:
        """A fresh numpy generator."""
        return np.random.default_rng(self.seed(purpose, *counter))
