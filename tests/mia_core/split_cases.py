"""Sizes of small splits, and the splits of a pool that they make."""

import numpy as np

from mia_core.data import SPLITS

PANEL = {"reference": 60, "unseen": 40, "panel": 60, "extra_non_members": 50, "known": 15}
LOGAN = {"reference": 60, "unseen": 40, "known": 15}
SIZES = (50, 80, 120)
REPLICATES = (0, 1, 7)


def build(name, pool, train_sizes=SIZES, seed=1, **changes):
    settings = PANEL if name == "panel" else LOGAN
    return SPLITS.choose({"name": name, **settings, **changes}).build(pool, train_sizes, seed)


def same(a, b):
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("train", "queries", "member"))
