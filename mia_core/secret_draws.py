"""Random numbers that cannot be reproduced without a 256-bit key: AES-256 in counter mode, a stream cipher.

Noise and sampling of a private training come from here. Its guarantee holds against an adversary who knows everything
but these numbers, so they must not follow from anything that is stored, such as a seed or an id. The other draws of a
private step are assigned to records by their place in the sample, and would shift if a record were left out. They come
from `mia_core.streams` whose name includes the key, so that an adversary cannot know them either.
"""

import math
import secrets

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mia_core.streams import Streams

KEY_BYTES = 32
PURPOSES = {"noise": 1, "poisson": 2, "person_record": 3}
"""The first byte of the cipher's counter; 7 bytes of the caller's counter and 8 bytes of the block number follow."""

BITS = 53
"""Bits of a uniform number: the precision of a double."""

CHUNK = 2**15
"""Numbers are generated in chunks of this size, which fit a CPU's cache."""


class SecretDraws:
    """Random numbers by purpose and counter, in any order, under one key. Use each counter of a purpose only once."""

    def __init__(self, key: bytes | None = None) -> None:
        """key: `KEY_BYTES` bytes, else ValueError; None takes a fresh key from the operating system."""
        self.key = secrets.token_bytes(KEY_BYTES) if key is None else key
        if len(self.key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes, got {len(self.key)}")

    def __repr__(self) -> str:
        return "SecretDraws()"  # the key must not get into logs

    @property
    def streams(self) -> Streams:
        """Streams that depend on the key only, by SHAKE-256: for the other draws of a private step."""
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
        """Standard normal numbers, float32 [count], by Box and Muller in float64; absolute values are below 8.6."""
        pairs = math.ceil(count / 2)
        uniform = torch.from_numpy(self.uniform(purpose, counter, 2 * pairs))
        normal = torch.empty(2, pairs)
        parts = (part.split(CHUNK) for part in (uniform[:pairs], uniform[pairs:], normal[0], normal[1]))
        for radius, angle, one, other in zip(*parts, strict=True):
            radius.add_(2.0**-BITS).log_().mul_(-2).sqrt_()  # shift to (0, 1], since log 0 is undefined
            angle.mul_(2 * math.pi)
            one.copy_(angle.cos().mul_(radius))
            other.copy_(angle.sin_().mul_(radius))
        return normal.flatten()[:count]
