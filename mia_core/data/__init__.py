"""Data sources, each of which loads one uint8 pool into memory, and splits, which choose training sets and queries."""

from mia_core.data import (
    cifar10,
    digits,
    fashion_mnist,
    given_folders,
    given_split,
    image_folder,
    lfw,
    logan_split,
    panel_split,
    retinopathy,
)
from mia_core.data.pool import SOURCES, Named, Pool, Source, load_named, load_pool
from mia_core.data.split import SPLITS, Membership, Split

__all__ = [
    "SOURCES",
    "SPLITS",
    "Membership",
    "Named",
    "Pool",
    "Source",
    "Split",
    "cifar10",
    "digits",
    "fashion_mnist",
    "given_folders",
    "given_split",
    "image_folder",
    "lfw",
    "load_named",
    "load_pool",
    "logan_split",
    "panel_split",
    "retinopathy",
]
