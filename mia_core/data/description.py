"""What a pool is, in words without names or paths: the plan, `mia-study data` and the report say the same."""

import numpy as np

from mia_core.data import near_duplicates
from mia_core.data.pool import FromFiles, Pool

ALIKE_BITS = 4
ALIKE_LEVELS = 8
"""Bits of hashes (of 128), and gray levels of thumbnails (of 255, root mean square): near-copies differ by no more."""


def described(pool: Pool, bits: int | None = None) -> dict[str, str]:
    """Words on images, classes, persons, copies, cropped, enlarged and left out.

    bits: near-copies too, whose hashes differ by at most so many of 128 bits; all pairs are compared.
    """
    channels, height, width = pool.image_shape
    color = {1: "gray", 3: "color"}.get(channels, f"{channels} channels")
    words = {
        "images": f"{len(pool):,} of {height} x {width} pixels, {color}",
        "classes": _classes(pool.labels),
        "persons": _persons(pool.groups),
        "copies": _copies(pool),
    }
    if bits is not None:
        words["near-copies"] = _near_copies(pool, bits)
    return words | _of_files(pool)


def sets_of(numbers: np.ndarray) -> list[np.ndarray]:
    """Records [.] that share a number [N] with others, a set each, the largest first."""
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[order])) + 1
    return sorted((part for part in np.split(order, starts) if len(part) > 1), key=lambda part: (-len(part), part[0]))


def sets_of_near_copies(pool: Pool, bits: int) -> list[np.ndarray]:
    """Sets of records that look the same, through chains, and are not all equal, the largest first."""
    together = near_duplicates.near_copies(pool.images, bits, ALIKE_LEVELS)
    return [part for part in sets_of(together) if len(np.unique(pool.copies[part])) > 1]


def _classes(labels: np.ndarray) -> str:
    sizes = np.unique(labels, return_counts=True)[1]
    if len(sizes) == 1:
        return "one; what needs several is skipped"
    return f"{len(sizes)}, of {_range(sizes)} images"


def _persons(groups: np.ndarray) -> str:
    sizes = np.unique(groups, return_counts=True)[1]
    if len(sizes) == len(groups):
        return "none are named, so that every image counts as a person of its own"
    return f"{len(sizes):,}, of {_range(sizes)} images"


def _copies(pool: Pool) -> str:
    sets = sets_of(pool.copies)
    if not sets:
        return "none"
    apart = sum(len(np.unique(pool.groups[part])) > 1 for part in sets)
    named = len(np.unique(pool.groups)) < len(pool)
    across = f", {apart} of them of several persons, who are kept together then" if named and apart else ""
    return f"{sum(map(len, sets)):,} images that are equal to others, in {_count(len(sets), 'set')}{across}"


def _near_copies(pool: Pool, bits: int) -> str:
    sets = sets_of_near_copies(pool, bits)
    apart = f"by at most {bits} of 128 bits of a hash, and {ALIKE_LEVELS} of 255 gray levels"
    if not sets:
        return "none"
    images = sum(map(len, sets))
    return f"{images:,} images that differ little from others ({apart}), in {_count(len(sets), 'set')}"


def _of_files(pool: Pool) -> dict[str, str]:
    seen, count, words = pool.from_files, len(pool), {}
    if seen:
        words["cropped"] = (
            f"{seen.cropped:,} of {count:,} are not square: what lies outside of the central square, up to "
            f"{seen.most_cut:.0%} of an image, is cut away"
            if seen.cropped
            else "none"
        )
        words["enlarged"] = (
            f"{seen.enlarged:,} of {count:,} have a side shorter than {pool.image_shape[1]} pixels, the smallest "
            f"{seen.smallest}"
            if seen.enlarged
            else "none"
        )
        if seen.windowed:
            rest = count - seen.windowed
            others = f"; the others ({rest:,}) have 8 bits, and are taken as they are" if rest else ""
            words["window"] = f"{_count(seen.windowed, 'image')} of more than 8 bits{others}"
            words["clipped"] = _clipped(seen)
        if seen.unoriented:
            words["orientation"] = f"not known of {_count(seen.unoriented, 'image')}, for EXIF that cannot be read"
    if seen or pool.left_out:
        words["left out"] = _count(pool.left_out, "file") if pool.left_out else "none"
    return words


def _clipped(seen: FromFiles) -> str:
    """What the window took to its nearer end."""
    ends = (
        ("below the window, and are black", seen.clipped_below, seen.pixels_below),
        ("above it, and are white", seen.clipped_above, seen.pixels_above),
    )
    parts = [
        f"{100 * pixels / seen.windowed_pixels:.2g} % of the pixels lie {what}, in {_count(images, 'image')}"
        for what, images, pixels in ends
        if images
    ]
    return "; ".join(parts) or "none: the window holds all values"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _range(sizes: np.ndarray) -> str:
    return f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
