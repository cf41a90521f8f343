"""Random numbers that nobody can draw again without a key of 256 bits: AES-256 in counter mode, a stream cipher.

Noise and sampling of a private training come from here. Its guarantee is against those who know all but these numbers,
so they must follow from nothing that is kept: no seed, no id. `mia_core.streams` are functions of their names, so what
a private step draws for its records, by their places in the sample, comes from streams that have the key in theirs:
who knew these draws would see them move from record to record when one is left out.
"""

import math
import secrets

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mia_core.streams import Streams

KEY_BYTES = 32
PURPOSES = {"noise": 1, "poisson": 2, "person_record": 3}
"""The first byte of a counter; 7 bytes of the caller's number follow, and 8 that count the cipher's blocks."""

BITS = 53
"""Of a uniform number: all that a double holds."""

CHUNK = 2**15
"""Numbers are made so many at a time, which a CPU's cache holds."""


class SecretDraws:
    """Numbers by purpose and counter, in any order, under one key. A counter must be used for one thing only."""

    def __init__(self, key: bytes | None = None) -> None:
        """key: `KEY_BYTES` long; None for a fresh one of the operating system."""
        self.key = secrets.token_bytes(KEY_BYTES) if key is None else key
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, got {len(self.key)}")

    def __repr__(self) -> str:
        return "SecretDraws()"  # a key in a log would be one too many

    @property
    def streams(self) -> Streams:
        """Streams that follow from the key alone, by SHAKE-256: for all else that a private step draws."""
        return Streams("private", self.key.hex())

    def uniform(self, purpose: str, counter: int, count: int) -> np.ndarray:
        """float64 [count], multiples of 2^-53 in [0, 1)."""
        start = PURPOSES[purpose].to_bytes(1, "big") + counter.to_bytes(7, "big") + bytes(8)
        cipher = Cipher(algorithms.AES(self.key), modes.CTR(start)).encryptor()
        uniform = np.empty(count)
        for begin in range(0, count, CHUNK):
            part = uniform[begin : begin + CHUNK]
            words = np.frombuffer(cipher.update(bytes(8 * len(part))), dtype="<u8")
            np.multiply((words >> np.uint64(64 - BITS)).view(np.int64), 2.0**-BITS, out=part)
        return uniform

    def normal(self, purpose: str, counter: int, count: int) -> torch.Tensor:
        """Standard normal numbers, float32 [count], by Box and Muller in double precision; none is beyond 8.6."""
        pairs = math.ceil(count / 2)
        uniform = torch.from_numpy(self.uniform(purpose, counter, 2 * pairs))
        normal = torch.empty(2, pairs)
        parts = (part.split(CHUNK) for part in (uniform[:pairs], uniform[pairs:], normal[0], normal[1]))
        for radius, angle, one, other in zip(*parts, strict=True):
            radius.add_(2.0**-BITS).log_().mul_(-2).sqrt_()  # of (0, 1], since log 0 is no number
            angle.mul_(2 * math.pi)
            one.copy_(angle.cos().mul_(radius))
            other.copy_(angle.sin_().mul_(radius))
        return normal.flatten()[:count]
