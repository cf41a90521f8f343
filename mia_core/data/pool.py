"""The pool: all records of a data set as one uint8 array, with labels, groups and the units that splits keep whole."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Le
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mia_core import hardware
from mia_core.data.given_records import GivenRecords
from mia_core.errors import Refused
from mia_core.hashing import array_digest
from mia_core.registry import Registry
from mia_core.settings import Choice
from mia_core.streams import Streams

Size = Annotated[int, Ge(8), Le(1024)]
"""Height and width in pixels of a pool's records."""

LEFT_OUT = "left out: "
"""How a pool's notes begin that say what was left out."""


@dataclass(frozen=True)
class FromFiles:
    """What became of a pool's image files, by count.

    cropped: not square; most_cut: the largest share of one that the central square leaves out. enlarged: with a side
    shorter than the records'; smallest: the shortest side. unoriented: with EXIF that cannot be read. windowed: with
    more than 8 bits. clipped_below, clipped_above: with values beyond an end of the window; pixels_below, pixels_above:
    so many values, of all windowed_pixels.
    """

    cropped: int = 0
    most_cut: float = 0.0
    enlarged: int = 0
    smallest: int | None = None
    unoriented: int = 0
    windowed: int = 0
    windowed_pixels: int = 0
    clipped_below: int = 0
    clipped_above: int = 0
    pixels_below: int = 0
    pixels_above: int = 0


@dataclass(frozen=True)
class Pool:
    """Records of one data set.

    images: uint8 [N, C, H, W]; labels: int64 [N]; groups: int64 [N], equal for records of one person (sources without
    persons give every record its own group). notes: for readers of the plan, e.g. records that were left out.
    files: paths below the data's root (with the page, if a file has several), one per record; empty if records are no
    files. They are as private as records. from_files: counts of what decoding did; None if records are no files, or an
    earlier version decoded them. left_out: number of files that could not be used. given: of records that a user
    named for a release; else None.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    notes: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=(), repr=False)
    from_files: FromFiles | None = None
    left_out: int = 0
    given: GivenRecords | None = None

    def __post_init__(self) -> None:
        count = len(self.images)
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            raise Refused(f"{self.name}: images must be uint8 [N,C,H,W], got {self.images.dtype} {self.images.shape}")
        if self.labels.shape != (count,) or self.groups.shape != (count,):
            raise Refused(f"{self.name}: {count} images need {count} labels and groups")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything in the pool except its name, notes and files."""
        arrays = self.images, self.labels.astype(np.int64), self.groups.astype(np.int64)
        if self.given is None:
            return array_digest(*arrays)
        return array_digest(*arrays, np.frombuffer(self.given.digest.encode(), np.uint8))

    @cached_property
    def copies(self) -> np.ndarray:
        """int64 [N]: exact duplicates share a number."""
        return np.unique(self._contents, return_inverse=True)[1].ravel()

    @property
    def fingerprints(self) -> np.ndarray:
        """uint64 [N]: hash of each record's pixels."""
        return self._contents.view("<u8").reshape(-1, 2)[:, 0]

    @cached_property
    def _contents(self) -> np.ndarray:
        """[N], 16-byte hashes."""
        found = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in self.images]
        return np.frombuffer(b"".join(found), dtype="V16")

    @cached_property
    def units(self) -> np.ndarray:
        """int64 [N]: records of one group, and exact duplicates, share a number; a split keeps them on one side."""
        return join(self.copies, self.groups)


def join(*partitions: np.ndarray) -> np.ndarray:
    """int64 [N]: records that share a number in any of the partitions [N] share one here, also through chains.

    Units are numbered by their first record; so if every record is its own unit, the numbers do not depend on
    partitions.
    """
    count = len(partitions[0])
    nodes, ends = count, []
    for partition in partitions:
        _, number = np.unique(partition, return_inverse=True)
        ends.append(nodes + number.ravel())
        nodes += number.max() + 1
    starts = np.tile(np.arange(count), len(ends))
    edges = coo_array((np.ones(len(starts), dtype=np.int8), (starts, np.concatenate(ends))), shape=(nodes, nodes))
    return connected_components(edges, directed=False)[1][:count].astype(np.int64)


def draw(count: int, fraction: float, seed: int) -> np.ndarray:
    """int64 [round(fraction x count)], ascending: a random share of `count` records, a function of the seed."""
    order = Streams("fraction", seed).numpy("order").permutation(count)
    return np.sort(order[: round(fraction * count)])


@dataclass(frozen=True)
class Named:
    """A pool, the names of its classes by label (empty if they have none), and a line per file that was left out."""

    pool: Pool
    classes: Sequence[str] = ()
    left_out: Sequence[str] = ()

    @property
    def records(self) -> Sequence[str]:
        """A name for each record: its file, or its number."""
        return self.pool.files or [f"record {number}" for number in range(len(self.pool))]


class Source(ABC):
    """A data set that can be loaded; subclasses set `name` and a settings class `Config`."""

    name: ClassVar[str]

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def load(self) -> Pool:
        """Read all records; Refused, with the way to get the data, if it is missing."""

    def named(self) -> Named:
        """The same, with the names of classes and of files that were left out, if there are any."""
        return Named(self.load())


class StoredSource(Source):
    """Stands for a data set of a package where a store is read; it cannot be loaded."""

    @staticmethod
    def kept(choice: Choice[Source], before: Mapping[str, Any]) -> dict[str, Any]:
        """Nothing but its package."""
        return {}

    @staticmethod
    def unfit_class(cls: type[Source]) -> str | None:
        """Packages may offer any data set."""
        return None


SOURCES: Registry[Source] = Registry("data set", "data_sets", StoredSource)


def load_pool(choice: Choice[Source]) -> Pool:
    """Load the data set that a spec names; Refused also if one of its files or folders cannot be read."""
    return load_named(choice).pool


def load_named(choice: Choice[Source]) -> Named:
    """The same, with the names of its classes and of the files that were left out."""
    try:
        return choice.build().named()
    except OSError as error:
        raise Refused(f"data: {error.filename or choice.name} cannot be read: {error.strerror or error}") from None


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 [N,C,H,W] to uint8 [N,C,size,size], bilinear, in integer arithmetic (identical on every machine).

    Refused, before resizing, if the result does not fit into memory.
    """
    if images.shape[2:] == (size, size):
        return images
    needed, there = 2 * len(images) * images.shape[1] * size * size, hardware.memory_bytes()
    if needed > there:
        raise Refused(
            f"data.size={size}: {len(images)} records of {size} x {size} pixels take {needed / 1e9:.1f} GB of memory "
            f"while they are resized, and there are {there / 1e9:.1f} GB here; lower data.size, or take fewer records"
        )
    planes = images.reshape(-1, *images.shape[2:])
    resized = [np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR)) for plane in planes]
    return np.stack(resized).reshape(*images.shape[:2], size, size)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """uint8 [0, 255] to float32 [-1, 1]."""
    return images.float() / 127.5 - 1.0


def to_uint8(images: torch.Tensor) -> np.ndarray:
    """Float [-1, 1] to uint8 [0, 255], rounded; values outside are clamped."""
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
