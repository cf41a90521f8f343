"""Near-duplicates: records that look alike without being equal, detected by a perceptual hash.

The hash is the difference hash (Krawetz 2013, 'Kind of like that') of the gray image shrunk to 9 x 9: which of two
neighbors is brighter, for 64 pairs along rows and 64 along columns. Distance is the number of differing bits, 0 to 128.
"""

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CHUNK_BYTES = 2**24
"""Memory of one block of distances, or of one block of images as float64."""

THUMBNAIL = 16
PAIRS = 2**19
"""Close pairs that are collected before they are merged. It bounds the memory for a pool of many near-duplicates."""


def thumbnails(images: np.ndarray, size: int) -> np.ndarray:
    """float64 [N, size, size] from uint8 [N,C,H,W]: mean over channels and areas, block by block."""
    small = np.empty((len(images), size, size))
    for rows in blocks(len(images), int(np.prod(images.shape[1:]))):
        # The sums are integers, exact in float64, so that ties are ties on every machine.
        gray = torch.from_numpy(images[rows].sum(1, dtype=np.float64))
        small[rows] = torch.nn.functional.adaptive_avg_pool2d(gray[:, None], size)[:, 0]
    return small / images.shape[1]


def difference_hash(images: np.ndarray) -> np.ndarray:
    """uint64 [N, 2] from uint8 [N,C,H,W]: 64 bits along rows and 64 along columns."""
    small = thumbnails(images, 9)
    bits = np.stack([small[:, :8, 1:] > small[:, :8, :-1], small[:, 1:, :8] > small[:, :-1, :8]], axis=1)
    return np.packbits(bits.reshape(len(images), 2, 64), axis=2).view(np.uint64)[..., 0]


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """uint8 [A, B]: number of differing bits between hashes uint64 [A, 2] and [B, 2]."""
    different = np.bitwise_count(a[:, None, 0] ^ b[None, :, 0])
    different += np.bitwise_count(a[:, None, 1] ^ b[None, :, 1])
    return different


def blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of `count` rows, each `width` 8-byte numbers wide, of at most `CHUNK_BYTES` (or one row) each."""
    rows = max(1, CHUNK_BYTES // (8 * max(1, width)))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def closest(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each hash uint64 [X, 2], the distance [X] to the nearest of hashes [Y, 2] and its index [X], both int64."""
    bits, places = np.empty(len(x), dtype=np.int64), np.empty(len(x), dtype=np.int64)
    for rows in blocks(len(x), len(y)):
        different = distances(x[rows], y)
        places[rows] = different.argmin(1)
        bits[rows] = different.min(1)
    return bits, places


def near_groups(images: np.ndarray, distance: int) -> np.ndarray:
    """int64 [N]: records at most `distance` bits apart share a number, also through chains.

    Exact, over all pairs: about half a minute on one core for 88,702 records.
    """
    hashes, copy_of = np.unique(difference_hash(images), axis=0, return_inverse=True)
    groups = np.arange(len(hashes))
    pairs: list[np.ndarray] = []
    for rows in blocks(len(hashes), len(hashes)):
        row, column = np.nonzero(distances(hashes[rows], hashes[rows.start :]) <= distance)
        pairs.append(np.stack([row, column])[:, row < column] + rows.start)
        if sum(pair.shape[1] for pair in pairs) > PAIRS:
            groups, pairs = _merge(groups, pairs), []
    return _merge(groups, pairs)[copy_of.ravel()]


def near_copies(images: np.ndarray, distance: int, levels: float) -> np.ndarray:
    """int64 [N]: records that `near_pairs` pairs share a number, through chains too."""
    return _merge(np.arange(len(images)), [near_pairs(images, distance, levels)])


def near_pairs(images: np.ndarray, distance: int, levels: float) -> np.ndarray:
    """int64 [2, P], the lower index first: records whose hashes are at most `distance` bits apart, and whose 16 x 16
    gray thumbnails at most `levels` of 255 (root mean square).

    Different smooth images may have equal hashes; their thumbnails differ.
    """
    groups, hashes = near_groups(images, distance), difference_hash(images)
    order = np.argsort(groups, kind="stable")
    pairs = [np.zeros((2, 0), dtype=np.int64)]
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(members) > 1:
            flat = thumbnails(images[members], THUMBNAIL).reshape(len(members), -1)
            squares, own = (flat**2).sum(1), hashes[members]
            for rows in blocks(len(members), len(members)):
                apart = (squares[rows, None] + squares - 2 * flat[rows] @ flat.T) / THUMBNAIL**2
                row, column = np.nonzero((apart <= levels**2) & (distances(own[rows], own) <= distance))
                pairs.append(members[np.stack([row + rows.start, column])[:, row + rows.start < column]])
    return np.concatenate(pairs, axis=1)


def _merge(groups: np.ndarray, pairs: list[np.ndarray]) -> np.ndarray:
    """Groups int64 [N] after merging the two groups of each pair [2, .]."""
    row, column = groups[np.concatenate([np.zeros((2, 0), dtype=np.int64), *pairs], axis=1)]
    edges = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(groups),) * 2)
    return connected_components(edges, directed=False)[1].astype(np.int64)[groups]
