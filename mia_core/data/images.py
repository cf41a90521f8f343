"""Data sets of image files: decoded and resized once, cached as a pool; unusable files are listed."""

import csv
import io
import warnings
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import PIL
from annotated_types import Gt, Le
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile

from mia_core import hardware
from mia_core.data import cache
from mia_core.data.pool import Pool, Size, Source, draw
from mia_core.errors import Refused
from mia_core.hashing import array_digest, content_id
from mia_core.opening import MEBIBYTE, read_regular
from mia_core.settings import nearest, settings

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"))
MODES = ("1", "L", "P", "RGB")
MEGAPIXELS = 80
"""Larger images are refused before decoding: a file of a few kilobytes can claim gigabytes of pixels."""
warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow warns at half of the size that is refused here
TABLE_BYTES = 256 * MEBIBYTE
"""Larger label tables are refused; this is enough for millions of rows."""
SHOWN = 3
BATCH = 256


@settings
class ImageSettings:
    """root: the folder. size: pixels, of the central square after resizing. channels: 3 for color, 1 for gray.

    fraction: random share of the records, drawn by `seed`. on_unreadable: `refuse` the data set if an image cannot be
    used, or `skip` that image and report it in the plan. cache: folder of decoded pools, by default
    `~/.cache/mia-study`.
    """

    root: str = "data"
    size: Size = 64
    channels: Literal[1, 3] = 3
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0
    on_unreadable: Literal["refuse", "skip"] = "refuse"
    cache: str | None = None


@dataclass(frozen=True)
class Listing:
    """The content of a data set before any image is opened.

    files: paths relative to root, one per record. labels, groups: int64 [N]. odd: one line per file that cannot be
    used.
    """

    root: Path
    files: Sequence[str]
    labels: np.ndarray
    groups: np.ndarray
    odd: Sequence[str] = ()
    notes: tuple[str, ...] = ()

    def pick(self, which: Iterable[int]) -> "Listing":
        """The records with these indices."""
        index = np.array(list(which), dtype=np.int64)
        files = [self.files[i] for i in index]
        return replace(self, files=files, labels=self.labels[index], groups=self.groups[index])


class ImageSource(Source):
    """A source that lists its files, labels and groups; all such sources are read in the same way."""

    Config: ClassVar[type[ImageSettings]]
    config: ImageSettings

    @abstractmethod
    def listing(self) -> Listing:
        """All records; Refused, with the way to get the data, if it is missing."""

    def load(self) -> Pool:
        """uint8 [N, channels, size, size], memory-mapped from the cache; decoded first if it is not cached.

        Refused, with the first images that cannot be used, unless they are to be skipped.
        """
        listing = self.listing()
        if self.config.fraction < 1:
            listing = listing.pick(draw(len(listing.files), self.config.fraction, self.config.seed))
        if not listing.files:
            raise Refused(f"data: no usable image in {listing.root}{_first(listing.odd)}")
        self._refuse(listing, listing.odd)
        folder = cache.cache_folder(self.config.cache) / f"{self.name}-{self._key(listing)}"
        notes = (*listing.notes, *(f"left out: {line}" for line in listing.odd))
        if (cached := cache.load(folder, notes)) is None:
            self._decode(listing, folder)
            cached = cache.load(folder, notes)
            assert cached is not None, f"{folder} cannot be read back"
        pool, odd = cached
        self._refuse(listing, odd)
        return pool

    def _refuse(self, listing: Listing, odd: Sequence[str]) -> None:
        if odd and self.config.on_unreadable == "refuse":
            raise Refused(
                f"data: {len(odd)} records of {listing.root} cannot be used{_first(odd)}; mend them, or leave them "
                "out with data.on_unreadable=skip"
            )

    def _key(self, listing: Listing) -> str:
        files = [(name, *_state(listing.root / name)) for name in listing.files]
        made = [self.config.size, self.config.channels, PIL.__version__, array_digest(listing.labels, listing.groups)]
        # Two data sets may have files with the same names, sizes and times, but not the same root.
        return content_id([str(listing.root.resolve()), made, files])

    def _decode(self, listing: Listing, folder: Path) -> None:
        config = self.config
        cache.require_room(folder.parent, len(listing.files) * config.channels * config.size**2)
        kept, odd = [], []
        with cache.Writer(folder, (config.channels, config.size, config.size)) as writer:
            paths = [listing.root / name for name in listing.files]
            for number, image in enumerate(decode_all(paths, config.size, config.channels)):
                if isinstance(image, str):
                    odd.append(f"{listing.files[number]}: {image}")
                else:
                    writer.append(image)
                    kept.append(number)
            if not kept:
                raise Refused(f"data: no image of {listing.root} can be used{_first(odd)}")
            good = listing.pick(kept)
            writer.seal(self.name, good.labels, good.groups, good.files, odd)


def _state(path: Path) -> tuple[int, int, int]:
    """Size and times of a file; no copy keeps its last time. -1 for a broken link, which decoding reports later."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1, -1
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _first(odd: Sequence[str]) -> str:
    more = f"; and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
    return f": {'; '.join(odd[:SHOWN])}{more}" if odd else ""


def decode_all(paths: Sequence[Path], size: int, channels: int) -> Iterator[np.ndarray | str]:
    """For each path, its image uint8 [channels, size, size] or why it cannot be used; in parallel, by batches."""

    def one(path: Path) -> np.ndarray | str:
        try:
            return decode(path, size, channels)
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(hardware.cpus()) as pool:
        for start in range(0, len(paths), BATCH):
            yield from pool.map(one, paths[start : start + BATCH])


def decode(path: Path, size: int, channels: int) -> np.ndarray:
    """uint8 [channels, size, size]: upright by its EXIF tag, the central square, resized (bilinear, antialiased).

    Refused if it cannot be read, or would lose something: transparency, frames, more than 8 bits, CMYK.
    """
    try:
        if path.exists() and not path.is_file():
            raise Refused("no regular file")
        with Image.open(path, formats=FORMATS) as image:
            if reason := _odd(image):
                raise Refused(reason)
            image.draft(image.mode, (2 * size, 2 * size))  # decodes JPEGs at 1/2, 1/4 or 1/8 of their size
            upright = ImageOps.exif_transpose(image.convert("L" if channels == 1 else "RGB"))
    except ValueError:
        raise
    except PIL.UnidentifiedImageError:
        raise Refused("empty file" if path.stat().st_size == 0 else "no image of a known format") from None
    except Exception as error:  # decoders raise various exceptions for damaged files
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0] or repr(error)
        raise Refused(f"cannot be decoded: {reason}") from None
    side = min(upright.size)
    left, top = ((length - side) / 2 for length in upright.size)
    square = upright.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
    return np.asarray(square).reshape(size, size, channels).transpose(2, 0, 1)


def _odd(image: ImageFile) -> str | None:
    width, height = image.size
    if width * height > MEGAPIXELS * 10**6:
        return f"{width} x {height} pixels, more than {MEGAPIXELS} million"
    if width * height == 0:
        return "has no pixels"
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return "has transparency"
    if image.mode not in MODES:
        return f"has mode {image.mode}, not 8-bit gray or RGB"
    if _deep(image):
        return "has more than 8 bits a channel"
    frames = getattr(image, "n_frames", 1)
    return f"has {frames} frames" if frames > 1 and image.format != "MPO" else None


def _deep(image: ImageFile) -> bool:
    """Whether the file has more bits than the mode: Pillow would keep the upper 8 without a warning."""
    arguments = [part for tile in image.tile for part in (tile[3] if isinstance(tile[3], tuple) else (tile[3],))]
    modes = any(isinstance(part, str) and ";16" in part for part in arguments)
    return modes or (image.format == "PPM" and any(isinstance(part, int) and part > 255 for part in arguments))


def below(folder: Path) -> list[str]:
    """Relative paths of all files below a folder, sorted; hidden files are left out, links are followed.

    Refused for a link to a folder that contains it, OSError for a folder that cannot be read.
    """
    return sorted(path.relative_to(folder).as_posix() for path in _files(folder, ()))


def _files(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    if (real := folder.resolve()) in above:
        raise Refused(f"data: {folder} links to a folder that it is in; remove it")
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path, (*above, real))
        else:
            yield path


def read_table(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header; Refused if the file, a column, or a value in one of `columns` is missing."""
    try:
        text = read_regular(path, TABLE_BYTES).decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows, header = list(reader), reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"data.labels: {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    for column in columns:
        if column not in header:
            raise Refused(f"data.labels: {path} has no column {column!r}{nearest(column, header)}")
        for number, row in enumerate(rows, start=2):
            if not row[column]:
                raise Refused(f"data.labels: {path}, row {number} has no {column}")
    return rows
