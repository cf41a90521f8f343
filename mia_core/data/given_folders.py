"""Members, non-members and reference records as folders of images that a user names: one pool, read by one rule."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mia_core.data import near_duplicates
from mia_core.data.compression import QUALITY, reencoded
from mia_core.data.decoding import SUFFIXES, Pages, Transparency
from mia_core.data.description import ALIKE_BITS, ALIKE_LEVELS
from mia_core.data.disguises import unread
from mia_core.data.file_facts import FACTS, file_facts, is_lossy
from mia_core.data.given_persons import read_persons, require_apart, shared_persons
from mia_core.data.given_records import MEMBER, NON_MEMBER, PARTS, GivenRecords, LeftOut
from mia_core.data.images import ImageSettings, ImageSource, Listing, Window, below, in_words
from mia_core.data.pool import LEFT_OUT, SOURCES, FromFiles, Named, Pool, Size, Source
from mia_core.errors import Refused
from mia_core.paths import expanded
from mia_core.settings import added_later, settings

PAGE = re.compile(r", page \d+$", re.ASCII)
"""After the name of a file with several pages, see `Listing.names`; no image's own name ends so."""
LARGEST_SIZE = 128
"""Pixels that records have at most where no size is given."""
SMALLEST_SIZE = 8
WINDOWED = (
    "windowed", "windowed_pixels", "clipped_below", "clipped_above", "pixels_below", "pixels_above"
)  # fmt: skip
"""Counts of `FromFiles` on images of more than 8 bits."""
GRAY = ("1", "L", "I;16")


class PlainFolder(ImageSource):
    """All images of a folder and its sub-folders, without labels or persons. Images that are not read are odd files."""

    name = "plain_folder"

    def listing(self) -> Listing:
        """Refused unless root is a folder with images."""
        root = expanded(self.config.root)
        if not root.is_dir():
            raise Refused(f"{root}: is no folder")
        every = below(root)
        files = [file for file in every if Path(file).suffix.lower() in SUFFIXES]
        others = [file for file in every if Path(file).suffix.lower() not in SUFFIXES]
        odd = [f"{file}: {reason}" for file in others if (reason := unread(root / file))]
        if not files:
            raise Refused(f"{root}: has no images{' that are read' if odd else ''}{in_words(odd)}")
        rest = len(others) - len(odd)
        notes = (f"passed over, no images by their names: {rest}",) if rest else ()
        return Listing(root, files, np.zeros(len(files), np.int64), np.arange(len(files)), odd=odd, notes=notes)


@SOURCES.register
class GivenFolders(Source):
    """A pool of the records of a release, with the part of each.

    Records that equal one of a part before theirs (members, non-members, reference), or nearly do, are left out: what
    equals a member was trained on, and so was, for all that an attack can tell, what shows the same scan. Equal records
    of one part stay. What is left out is counted, and named in private files only.
    """

    name = "given_folders"

    @settings
    class Config:
        """members, non_members, reference: folders, with all their sub-folders; reference is optional.

        groups: a CSV file of files and persons, with the columns file_column and person_column. shared_persons: persons
        among members and non-members are refused, or their non-members left out. size: pixels of the central square
        after resizing, the same for all; null for the members' most frequent one, at most 128, see `halving`. channels:
        3 or 1; null for 1 if all members are gray. compression: `equalize` encodes all images as JPEG of quality 90 if
        some folders have lossy formats and others do not, `keep` takes them as they are. near_copies: records that
        nearly equal one of a part before theirs (`near_pairs`, by ALIKE_BITS and ALIKE_LEVELS) are left out, or kept.
        on_unreadable, cache, window, transparency, pages: as in image_folder.
        """

        members: str
        non_members: str
        reference: str | None = None
        groups: str | None = None
        file_column: str = "file"
        person_column: str = "person"
        shared_persons: Literal["refuse", "leave_out"] = "refuse"
        size: Size | None = None
        channels: Literal[1, 3] | None = None
        compression: Literal["equalize", "keep"] = "equalize"
        on_unreadable: Literal["refuse", "skip"] = "refuse"
        cache: str | None = None
        window: Window | None = None
        transparency: Transparency = "refuse"
        pages: Pages = "refuse"
        near_copies: Literal["leave_out", "keep"] = added_later("leave_out")

    config: Config

    def load(self) -> Pool:
        """uint8 [N, channels, size, size] of all folders, members first."""
        return self.named().pool

    def named(self) -> Named:
        """The same, with what was left out because it cannot be read."""
        roots = self._roots()
        listed = {part: PlainFolder(self._reading(root, SMALLEST_SIZE, 3)).listing() for part, root in roots.items()}
        facts = {part: file_facts([place for place, _ in listing.places]) for part, listing in listed.items()}
        size, channels, notes = self._form(facts["members"])
        read = {part: PlainFolder(self._reading(root, size, channels)).named() for part, root in roots.items()}
        pools = {part: named.pool for part, named in read.items()}
        images = np.concatenate([pool.images for pool in pools.values()])
        number = np.concatenate([np.full(len(pool), PARTS.index(part)) for part, pool in pools.items()])
        of_files = np.concatenate([_of_records(pools[part], listed[part], facts[part]) for part in roots])
        quality = self._quality(of_files, number)
        if quality is not None:
            images = reencoded(images, quality)
            notes.append(f"some folders have lossy files and others do not: all images were JPEG of quality {quality}")
        persons, of_persons = self._persons(roots, pools, {part: listing.files for part, listing in listed.items()})
        files = [f"{part}/{file}" for part, pool in pools.items() for file in pool.files]
        odd = [f"{part}/{line}" for part, named in read.items() for line in named.left_out]
        notes += [f"{part}: {note}" for part, pool in pools.items() for note in pool.notes if LEFT_OUT not in note]
        if odd:
            notes.append(f"{len(odd)} files cannot be read, and are left out")
        whole = Pool(
            self.name,
            np.ascontiguousarray(images),
            np.zeros(len(images), np.int64),
            _numbered(persons),
            files=tuple(files),
            from_files=_together([pool.from_files for pool in pools.values()]),
            left_out=len(odd),
            given=GivenRecords(number, of_files, persons, notes=(*notes, *of_persons), quality=quality),
        )
        return Named(self._apart(whole), (), odd)

    def _roots(self) -> dict[str, str]:
        given = {part: getattr(self.config, part) for part in PARTS}
        roots = {part: root for part, root in given.items() if root is not None}
        real: dict[Path, str] = {}
        for part, root in roots.items():
            folder = expanded(root)
            if not folder.is_dir():
                raise Refused(f"split.{part}: {root} is no folder")
            other = real.setdefault(folder.resolve(), part)
            if other != part:
                raise Refused(f"split.{part}: {root} is the folder of {other}; each needs one of its own")
        return roots

    def _reading(self, root: str, size: int, channels: Literal[1, 3]) -> ImageSettings:
        config = self.config
        return ImageSettings(
            root=root,
            size=size,
            channels=channels,
            on_unreadable=config.on_unreadable,
            cache=config.cache,
            window=config.window,
            transparency=config.transparency,
            pages=config.pages,
        )

    def _form(self, members: np.ndarray) -> tuple[int, Literal[1, 3], list[str]]:
        """Size, channels and notes, by facts of the members' files."""
        config = self.config
        sides = np.rint(np.expm1(members[:, [FACTS.index("width"), FACTS.index("height")]])).min(1).astype(int)
        values, counts = np.unique(sides, return_counts=True)
        usual = int(values[np.lexsort((values, counts))[-1]])
        size = config.size or halving(min(max(usual, SMALLEST_SIZE), LARGEST_SIZE))
        gray = members[:, [FACTS.index(f"mode_{mode}") for mode in GRAY]].any(1)
        channels: Literal[1, 3] = config.channels or (1 if gray.all() else 3)
        why = "as data.size says" if config.size else f"most members have a shorter side of {usual}"
        color = "gray" if channels == 1 else "color"
        note = f"central square of every image, resized to {size} x {size} (bilinear), 8 bits, {color}: {why}"
        return size, channels, [note]

    def _quality(self, facts: np.ndarray, part: np.ndarray) -> int | None:
        """Of the JPEG encoding that makes folders equal, where they are not."""
        if self.config.compression == "keep":
            return None
        shares = [is_lossy(facts[part == number]).mean() for number in np.unique(part)]
        return QUALITY if max(shares) - min(shares) > 0 else None

    def _persons(
        self, roots: dict[str, str], pools: dict[str, Pool], listed: dict[str, Sequence[str]]
    ) -> tuple[list[str | None], list[str]]:
        """Of each record, and notes. listed: all files of each part, whether they can be read or not."""
        if self.config.groups is None:
            return [None] * sum(map(len, pools.values())), []
        folders = {part: (expanded(root).resolve().name, listed[part]) for part, root in roots.items()}
        table = expanded(self.config.groups)
        persons, notes = read_persons(table, self.config.file_column, self.config.person_column, folders)
        named = {part: dict(zip(listed[part], persons[part], strict=True)) for part in roots}
        return [named[part][PAGE.sub("", name)] for part in roots for name in pools[part].files], notes

    def _apart(self, pool: Pool) -> Pool:
        """Without records that equal one of a part before theirs, or are of its persons."""
        given = pool.given
        assert given is not None
        found = {
            record: (other, f"{PARTS[given.part[record]]} that equal {PARTS[given.part[other]]}")
            for record, other in _equal_before(pool.copies, given.part).items()
        }
        if self.config.near_copies == "leave_out":
            for record, other in _alike_before(pool.images, given.part).items():
                words = f"{PARTS[given.part[record]]} that nearly equal {PARTS[given.part[other]]}"
                found.setdefault(record, (other, words))
        shared = shared_persons(given.part, given.persons)
        if self.config.shared_persons == "refuse":
            require_apart(given.part, given.persons, {key: other for key, other in shared.items() if key not in found})
        for record, other in shared.items():
            found.setdefault(
                record, (other, f"{PARTS[given.part[record]]} of persons among {PARTS[given.part[other]]}")
            )
        left_out = [LeftOut(pool.files[record], pool.files[other], why) for record, (other, why) in found.items()]
        kept = np.setdiff1d(np.arange(len(pool)), np.array(sorted(found), dtype=np.int64))
        part = given.part[kept]
        for side in (MEMBER, NON_MEMBER):
            if (part == side).sum() < 2:
                raise Refused(
                    _too_few(PARTS[side], int((part == side).sum()), int((given.part == side).sum()), left_out)
                )
        records = replace(
            given,
            part=part,
            facts=None if given.facts is None else given.facts[kept],
            persons=[given.persons[record] for record in kept],
            left_out=left_out,
        )
        return replace(
            pool,
            images=pool.images[kept],
            labels=pool.labels[kept],
            groups=_numbered(records.persons),
            notes=(*given.notes, *(f"{LEFT_OUT}{count} {why}" for why, count in records.reasons().items())),
            files=tuple(pool.files[record] for record in kept),
            left_out=pool.left_out + len(left_out),
            given=records,
        )


def halving(size: int) -> int:
    """The largest number of pixels from 8 up to `size` that halves down to 4 to 7: networks of attacks halve images."""
    step = 2 ** (size.bit_length() - 3)
    return size // step * step


def _equal_before(copies: np.ndarray, part: np.ndarray) -> dict[int, int]:
    """Records that equal one of an earlier part, and the first such record. copies, part: int64 [N]."""
    first: dict[int, int] = {}
    found = {}
    for record in np.argsort(part, kind="stable").tolist():
        other = first.setdefault(int(copies[record]), record)
        if part[other] < part[record]:
            found[record] = other
    return found


def _alike_before(images: np.ndarray, part: np.ndarray) -> dict[int, int]:
    """Records that nearly equal one of an earlier part, and the first such record of the first such part.

    images: uint8 [N,C,H,W]; part: int64 [N].
    """
    row, column = near_duplicates.near_pairs(images, ALIKE_BITS, ALIKE_LEVELS)
    first, later = np.where(part[row] <= part[column], (row, column), (column, row))
    apart = part[first] < part[later]
    order = np.lexsort((first[apart], part[first[apart]], later[apart]))
    found: dict[int, int] = {}
    for record, other in zip(later[apart][order].tolist(), first[apart][order].tolist(), strict=True):
        found.setdefault(record, other)
    return found


def _too_few(part: str, left: int, listed: int, left_out: Sequence[LeftOut]) -> str:
    """Why a part has no two records."""
    reasons = Counter(item.reason for item in left_out if item.file.startswith(f"{part}/"))
    why = "; ".join(f"{count} {reason} were left out" for reason, count in reasons.items())
    return f"split.{part}: {left} of {listed} records are left, and 2 are needed{why and f': {why}'}"


def _numbered(persons: Sequence[str | None]) -> np.ndarray:
    """int64 [N]: equal for records of one person; who has no name is alone."""
    numbers: dict[Any, int] = {}
    keys = [("alone", record) if person is None else person for record, person in enumerate(persons)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _of_records(pool: Pool, listing: Listing, facts: np.ndarray) -> np.ndarray:
    """Facts [N, F] of a pool's records, from those of the files that were listed."""
    place = {file: number for number, file in enumerate(listing.files)}
    return facts[[place[file if file in place else file.rpartition(", page ")[0]] for file in pool.files]]


def _together(parts: Sequence[FromFiles | None]) -> FromFiles:
    seen = [part for part in parts if part is not None]
    return FromFiles(
        cropped=sum(part.cropped for part in seen),
        most_cut=max((part.most_cut for part in seen), default=0.0),
        enlarged=sum(part.enlarged for part in seen),
        smallest=min((part.smallest for part in seen if part.smallest is not None), default=None),
        unoriented=sum(part.unoriented for part in seen),
        **{name: sum(getattr(part, name) for part in seen) for name in WINDOWED},
    )
