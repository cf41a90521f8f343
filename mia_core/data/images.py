"""Data sets of image files: decoded and resized once, cached as a pool; unusable files are listed."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import PIL
from annotated_types import Gt, Le
from pydantic import Strict, field_validator

from mia_core.data import cache
from mia_core.data.decoding import Decoded, Pages, Reading, Transparency, count_pages, decode_all
from mia_core.data.pool import FromFiles, Named, Pool, Size, Source, draw
from mia_core.errors import Refused
from mia_core.hashing import array_digest, content_id
from mia_core.settings import added_later, plain, settings

SHOWN = 5
"""Reasons that a refusal gives, those of most files first."""
DETAILS = re.compile(r"\d[\d.,]*|\(.*?\)|;.*")

Window = Annotated[tuple[float, float], Strict(False)]


@settings
class ImageSettings:
    """root: the folder. size: pixels, of the central square after resizing. channels: 3 for color, 1 for gray.

    fraction: random share of the records, drawn by `seed`. on_unreadable: `refuse` the data set if an image cannot
    be used, or `skip` that image and report it in the plan. on_unmatched: likewise where images and their labels or
    persons do not match: rows of a table without an image, images without a row or in no sub-folder. cache: folder
    of decoded pools, by default `~/.cache/mia-study`. window: the values of 16-bit, 32-bit and float images that
    become black and white, e.g. `[0, 4095]`; 8-bit images are used as they are. transparency: images that are not
    opaque are refused, or composed onto `black` or `white`. pages: files with several pages or frames are refused,
    or their `first` page is used, or `all` pages are records of one group.
    """

    root: str = "data"
    size: Size = 64
    channels: Literal[1, 3] = 3
    fraction: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0
    on_unreadable: Literal["refuse", "skip"] = "refuse"
    cache: str | None = None
    window: Window | None = added_later(None)
    transparency: Transparency = added_later("refuse")
    pages: Pages = added_later("refuse")
    on_unmatched: Literal["refuse", "skip"] = added_later("refuse")

    @field_validator("window")
    @classmethod
    def _ascending(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window and not window[0] < window[1]:
            raise Refused(
                f"[{window[0]:g}, {window[1]:g}] must have the value of black first, and a larger one for white"
            )
        return window


@dataclass(frozen=True)
class Listing:
    """The content of a data set before any image is opened.

    files: paths relative to root, one per record. labels, groups: int64 [N]. odd: one line per file that cannot be
    used. classes: names by label. pages: page of each record in its file, from 0; None if each record is a whole file.
    unmatched: one line per row of a table without a file, and per file without a label or person.
    """

    root: Path
    files: Sequence[str]
    labels: np.ndarray
    groups: np.ndarray
    odd: Sequence[str] = ()
    notes: tuple[str, ...] = ()
    classes: Sequence[str] = ()
    pages: Sequence[int] | None = None
    unmatched: Sequence[str] = ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """A line each, if neither is refused."""
        return (*self.odd, *self.unmatched)

    @property
    def names(self) -> list[str]:
        """Of the records: their files, with the page where a file has several."""
        several = {file for file, page in zip(self.files, self.pages or (), strict=False) if page}
        pages = self.pages or [0] * len(self.files)
        return [
            f"{file}, page {page + 1}" if file in several else file
            for file, page in zip(self.files, pages, strict=True)
        ]

    @property
    def places(self) -> list[tuple[Path, int]]:
        """Where each record is read from."""
        return [
            (self.root / file, page) for file, page in zip(self.files, self.pages or [0] * len(self.files), strict=True)
        ]

    def pick(self, which: Iterable[int]) -> "Listing":
        """The records with these indices."""
        index = np.array(list(which), dtype=np.int64)
        files = [self.files[i] for i in index]
        pages = self.pages and [self.pages[i] for i in index]
        return replace(self, files=files, labels=self.labels[index], groups=self.groups[index], pages=pages)

    def with_pages(self) -> "Listing":
        """A record for each page of each file, in the group of the file."""
        counts = [count_pages(self.root / file) for file in self.files]
        pages = [page for count in counts for page in range(count)]
        return replace(self.pick(np.repeat(np.arange(len(counts)), counts)), pages=pages)


class ImageSource(Source):
    """A source that lists its files, labels and groups; all such sources are read in the same way."""

    Config: ClassVar[type[ImageSettings]]
    config: ImageSettings

    @abstractmethod
    def listing(self) -> Listing:
        """All records; Refused, with the way to get the data, if it is missing."""

    def load(self) -> Pool:
        """uint8 [N, channels, size, size], memory-mapped from the cache; decoded first if it is not cached.

        Refused, with the reasons by count, where images cannot be used or lack labels, unless they are to be skipped.
        """
        return self.named().pool

    def named(self) -> Named:
        """The same, with the names of records and classes, and all that was left out."""
        listing = self.listing()
        if self.config.fraction < 1:
            listing = listing.pick(draw(len(listing.files), self.config.fraction, self.config.seed))
        if not listing.files:
            raise Refused(f"data: no usable image in {listing.root}{in_words(listing.left_out)}")
        self._refuse(listing, listing.odd)
        if listing.unmatched and self.config.on_unmatched == "refuse":
            raise Refused(
                f"data: {len(listing.unmatched)} images or labels of {listing.root} do not match"
                f"{in_words(listing.unmatched)}; mend them, or leave them out with data.on_unmatched=skip"
            )
        if self.config.pages == "all":
            listing = listing.with_pages()
        folder = cache.cache_folder(self.config.cache) / f"{self.name}-{self._key(listing)}"
        if (cached := cache.load(folder, listing.notes, listing.left_out)) is None:
            self._decode(listing, folder)
            cached = cache.load(folder, listing.notes, listing.left_out)
            assert cached is not None, f"{folder} cannot be read back"
        pool, odd = cached
        self._refuse(listing, odd)
        return Named(pool, listing.classes, (*listing.left_out, *odd))

    def _refuse(self, listing: Listing, odd: Sequence[str]) -> None:
        if odd and self.config.on_unreadable == "refuse":
            raise Refused(
                f"data: {len(odd)} records of {listing.root} cannot be used{in_words(odd)}; mend them, or leave them "
                "out with data.on_unreadable=skip"
            )

    def _key(self, listing: Listing) -> str:
        files = [(name, *_state(path)) for name, (path, _) in zip(listing.names, listing.places, strict=True)]
        made = [self.config.size, self.config.channels, PIL.__version__, array_digest(listing.labels, listing.groups)]
        # Two data sets may have files with the same names, sizes and times, but not the same root.
        given = plain(self.config)  # lacks settings that were added later and have their default: old caches are found
        further = [[name, given[name]] for name in ("window", "transparency", "pages") if name in given]
        return content_id([str(listing.root.resolve()), made, files, *further])

    def _decode(self, listing: Listing, folder: Path) -> None:
        config = self.config
        cache.require_room(folder.parent, len(listing.files) * config.channels * config.size**2)
        reading = Reading(config.size, config.channels, config.window, config.transparency, config.pages)
        names, kept, odd = listing.names, [], []
        seen = FromFiles()
        with cache.Writer(folder, (config.channels, config.size, config.size)) as writer:
            for number, image in enumerate(decode_all(listing.places, reading)):
                if isinstance(image, str):
                    odd.append(f"{names[number]}: {image}")
                else:
                    writer.append(image.pixels)
                    kept.append(number)
                    seen = _with(seen, image, config.size)
            if not kept:
                raise Refused(f"data: no image of {listing.root} can be used{in_words(odd)}")
            good = listing.pick(kept)
            writer.seal(self.name, good.labels, good.groups, good.names, odd, seen)


def _with(seen: FromFiles, image: Decoded, size: int) -> FromFiles:
    """One more image counted."""
    short, long = sorted((image.width, image.height))
    return FromFiles(
        cropped=seen.cropped + (short < long),
        most_cut=max(seen.most_cut, round(1 - short / long, 4)),
        enlarged=seen.enlarged + (short < size),
        smallest=min(seen.smallest or short, short),
        unoriented=seen.unoriented + (not image.oriented),
        windowed=seen.windowed + image.windowed,
        windowed_pixels=seen.windowed_pixels + image.windowed * image.width * image.height,
        clipped_below=seen.clipped_below + (image.below > 0),
        clipped_above=seen.clipped_above + (image.above > 0),
        pixels_below=seen.pixels_below + image.below,
        pixels_above=seen.pixels_above + image.above,
    )


def _state(path: Path) -> tuple[int, int, int]:
    """Size and times of a file; no copy keeps its last time. -1 for a broken link, which decoding reports later."""
    try:
        stat = path.stat()
    except OSError:
        return -1, -1, -1
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def in_words(odd: Sequence[str]) -> str:
    """Reasons for lines `file: reason`, those of most files first, each with its number and one file; "" for none.

    Numbers, and what follows a semicolon or stands between brackets, tell no reasons apart.
    """
    kinds: dict[str, list[str]] = {}
    for line in odd:
        kinds.setdefault(DETAILS.sub("", line.partition(": ")[2]), []).append(line)
    most = sorted(kinds.values(), key=len, reverse=True)
    reasons = [f"{len(lines)} like {lines[0]}" if len(lines) > 1 else lines[0] for lines in most[:SHOWN]]
    rest = sum(map(len, most[SHOWN:]))
    more = f"; and {rest} more for other reasons" if rest else ""
    return f": {'; '.join(reasons)}{more}" if odd else ""


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
