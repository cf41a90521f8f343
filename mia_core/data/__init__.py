"""Data sources, each giving one in-memory uint8 pool, and the splits that say who trains on what."""

from mia_core.data import cifar10, digits, fashion_mnist, image_folder, lfw, retinopathy
from mia_core.data.pool import SOURCES, Pool, Source, load_pool
from mia_core.data.splits import SPLITS, Membership, Split

__all__ = [
    "SOURCES",
    "SPLITS",
    "Membership",
    "Pool",
    "Source",
    "Split",
    "cifar10",
    "digits",
    "fashion_mnist",
    "image_folder",
    "lfw",
    "load_pool",
    "retinopathy",
]
