"""Named random streams: every random number is a function of (seed, purpose, counter) only.

No stream advances another one: evaluating a target, adding an attack or resuming at a step changes no draw. A
generator's whole state comes from a hash of its name; torch's `manual_seed` would use only 32 bits of it.
"""

import hashlib

import numpy as np
import torch

from mia_core.hashing import canonical_json

WORDS = 624
"""32-bit words in the state of a Mersenne twister."""

SEED, STATE = slice(0, 8), slice(24, 24 + 8 * WORDS)
"""Bytes of torch's CPU generator state: the seed that `initial_seed` reports, and the twister with 64 bits per word."""

_SEEDED = torch.Generator().manual_seed(0).get_state()
"""The state after seeding, in which the first draw generates the twister's next words."""


class Streams:
    """A node in a tree of independent random streams, e.g. `Streams(study_seed, replicate).torch("latent", step)`."""

    def __init__(self, *path: int | str) -> None:
        self.path = path

    def child(self, *names: int | str) -> "Streams":
        """The subtree below `names`."""
        return Streams(*self.path, *names)

    def seed(self, purpose: str, *counter: int | str) -> int:
        """A 63-bit seed, by hash of path, purpose and counter."""
        return int.from_bytes(hashlib.sha256(self._name(purpose, counter)).digest()[:8], "big") >> 1

    def torch(self, purpose: str, *counter: int | str) -> torch.Generator:
        """A fresh torch generator on the CPU. Numbers for other devices are drawn here and moved."""
        return torch_generator(hashlib.shake_256(self._name(purpose, counter)).digest(4 * WORDS))

    def numpy(self, purpose: str, *counter: int | str) -> np.random.Generator:
        """A fresh numpy generator, seeded with 256 bits."""
        return numpy_generator(hashlib.sha256(self._name(purpose, counter)).digest())

    def _name(self, purpose: str, counter: tuple[int | str, ...]) -> bytes:
        return canonical_json([self.path, purpose, counter]).encode()


def torch_generator(state: bytes) -> torch.Generator:
    """A CPU generator whose twister state is `state`, 4 * `WORDS` bytes."""
    words = np.frombuffer(state, dtype="<u4").astype(np.uint64)
    full = _SEEDED.clone()
    full[SEED] = torch.from_numpy(np.frombuffer(state[:8], dtype=np.uint8).copy())
    full[STATE] = torch.from_numpy(words.view(np.uint8))
    generator = torch.Generator()
    generator.set_state(full)
    return generator


def numpy_generator(seed: bytes) -> np.random.Generator:
    """A generator whose state depends on all 32 bytes of `seed`."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(int.from_bytes(seed, "big"), pool_size=8)))
