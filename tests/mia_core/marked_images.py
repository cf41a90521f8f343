"""Images that can be recognized: of one pixel value, or with a brighter half."""

import numpy as np
import torch

from mia_core.data.pool import to_float


def of_value(value, count):
    """Images of one pixel value, to be recognized by."""
    return torch.full((count, 1, 8, 8), value / 127.5 - 1)


def bright(side, count, seed):
    """Noise with one brighter half: `left`, `right`, or `neither`."""
    x = to_float(torch.from_numpy(np.random.default_rng(seed).integers(0, 128, (count, 1, 8, 8), dtype=np.uint8)))
    if side != "neither":
        x[..., slice(0, 4) if side == "left" else slice(4, 8)] += 0.8
    return x.clamp(-1, 1)
