"""Any folder of images, with labels from its sub-folders or from a CSV file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mia_core.data.decoding import SUFFIXES
from mia_core.data.disguises import unread
from mia_core.data.images import ImageSettings, ImageSource, Listing, below
from mia_core.data.label_table import read_table
from mia_core.data.pool import SOURCES
from mia_core.data.spelling import Names, alike, key, merged
from mia_core.errors import Refused
from mia_core.paths import expanded
from mia_core.settings import settings

UNKNOWN = frozenset(("na", "n/a", "nan", "none", "null", "unknown", "unbekannt", "-", "?", "."))
"""How tables name persons whom nobody knows."""


@SOURCES.register
class ImageFolder(ImageSource):
    """Labels and groups are numbered from 0 in the sorted order of their names (numerical if all are numbers)."""

    name = "image_folder"

    @settings
    class Config(ImageSettings):
        """root: searched with all its sub-folders.

        labels: a CSV file in root, with one row per file; null to take the first-level sub-folder as the label.
        file_column: paths relative to root, with or without their suffix. label_column: any words or numbers; null if
        the table has no labels. group_column: a person, a patient, ...; null without groups. group_folders: first-level
        sub-folders are the groups.
        """

        root: str
        labels: str | None = None
        file_column: str = "file"
        label_column: str | None = "label"
        group_column: str | None = None
        group_folders: bool = False

    config: Config

    def listing(self) -> Listing:
        """Every image of the folder. Refused if root is no folder, and for settings that contradict each other."""
        config, root = self.config, expanded(self.config.root)
        if config.group_column and (config.group_folders or not config.labels):
            raise Refused("data.group_column: needs data.labels, and data.group_folders=false")
        if not root.is_dir():
            raise Refused(f"data.root: {root} is not a folder")
        everything = below(root)
        images = [file for file in everything if Path(file).suffix.lower() in SUFFIXES]
        found = _Found(images, everything)
        found.look_at_others(root, config.labels)
        if config.labels is None:
            self._by_folder(found)
        else:
            self._by_table(root, found)
        if config.group_folders:
            found.keep_within_folders()
        files = sorted(found.rows)
        labels, classes = _numbered(found.rows[file][0] for file in files)
        found.note_alike(classes)
        groups = np.arange(len(files))
        if config.group_column or config.group_folders:
            groups, names = _numbered(found.rows[file][1] for file in files)
            self._refuse_alike(names)
            found.note_unknown(names, groups)
        return Listing(root, files, labels, groups, found.odd, tuple(found.notes), classes, unmatched=found.unmatched)

    def _by_folder(self, found: "_Found") -> None:
        folders = {file: file.rpartition("/")[0].partition("/")[0] for file in found.images}
        found.rows = {file: (folder, folder) for file, folder in folders.items()}
        if any(folders.values()):
            found.keep_within_folders()

    def _by_table(self, root: Path, found: "_Found") -> None:
        config, where = self.config, root / expanded(str(self.config.labels), variables="none")
        wanted = {
            column: f"data.{name}"
            for name in ("file_column", "label_column", "group_column")
            if (column := getattr(config, name))
        }
        table = read_table(where, list(wanted), named_by=wanted)
        names, bare, missing, meant = Names(found.images, SUFFIXES), 0, [], set()
        for row in table.rows:
            written = row[config.file_column]
            file = names.find(written)
            if file is None:
                missing.append(Path(written.strip()).as_posix())
                meant.update(names.near(written))
                continue
            bare += Path(file).suffix.lower() not in written.lower()
            folder = file.partition("/")[0] if "/" in file else ""
            values = (
                row[config.label_column] if config.label_column else "",
                row[config.group_column] if config.group_column else folder,
            )
            if found.rows.setdefault(file, values) != values:
                raise Refused(f"data.labels: {where} has {file} twice, with different values")
        found.notes += table.notes
        if bare:
            found.notes.append(f"{bare} rows of {config.labels} name their file without its suffix")
        unlisted = [file for file in found.images if file not in found.rows]
        for name in dict.fromkeys(missing):
            if name in found.named_as_odd:
                continue
            near = [file for file in names.near(name) if file not in found.rows]
            found.unmatched.append(f"{name}: in {config.labels}, but not there{_near(near)}")
        found.unmatched += [f"{file}: not in {config.labels}" for file in unlisted if file not in meant]

    def _refuse_alike(self, names: Sequence[str]) -> None:
        """Where persons may be split by spelling alone: nobody can tell which is right but who has the data."""
        pairs = list(alike(names))
        if not pairs:
            return
        what = (
            f"data.group_column: {self.config.labels}" if self.config.group_column else "data.group_folders: the folder"
        )
        shown = " and ".join(map(repr, pairs[0]))
        more = f" (and {len(pairs) - 1} more such pairs)" if len(pairs) > 1 else ""
        raise Refused(
            f"{what} has the groups {shown}{more}, which differ by spelling alone; one person must not be two: write "
            "them alike, or, if they are two, so that they differ by more than case, blanks and leading zeros"
        )


@dataclass
class _Found:
    """What is in the folder. rows: label and group, by file. odd, unmatched, notes: a line each, as of `Listing`."""

    images: list[str]
    everything: list[str]
    rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    named_as_odd: set[str] = field(default_factory=set)

    def look_at_others(self, root: Path, table: str | None) -> None:
        """Files that are no images by their suffix: what may be meant to be some is odd, others are noted."""
        images = set(self.images)
        others = [file for file in self.everything if file not in images and file != table]
        reasons = {file: reason for file in others if (reason := unread(root / file))}
        self.odd += [f"{file}: {reason}" for file, reason in reasons.items()]
        self.named_as_odd = set(reasons)
        if rest := [file for file in others if file not in reasons]:
            self.notes.append(f"{len(rest)} files of {root} are no images, e.g. {rest[0]}")

    def keep_within_folders(self) -> None:
        """Only files that lie in a sub-folder."""
        self.unmatched += [f"{file}: in no sub-folder" for file, (_, group) in self.rows.items() if not group]
        self.rows = {file: row for file, row in self.rows.items() if row[1]}

    def note_unknown(self, names: Sequence[str], groups: np.ndarray) -> None:
        """Groups that are named as if nobody knew them: their images may be of many persons."""
        for number, name in enumerate(names):
            if key(name) in UNKNOWN and (count := int((groups == number).sum())) > 1:
                self.notes.append(f"{count} images have the group {name!r}, and count as one person")

    def note_alike(self, classes: Sequence[str]) -> None:
        """Classes that may be one; unlike persons, they may also be two."""
        for one, other in alike(classes):
            self.notes.append(f"the classes {one!r} and {other!r} differ by spelling alone, and are two")


def _near(files: Sequence[str]) -> str:
    """What may be meant."""
    return f"; is {files[0]} meant" + (f" (or {len(files) - 1} more)" if len(files) > 1 else "") if files else ""


def _numbered(words: Iterable[str]) -> tuple[np.ndarray, list[str]]:
    """int64 [N]: words numbered in their order, and these words; spellings that nobody can tell apart are one."""
    words = list(words)
    one = merged(words)
    stands = [one[word] for word in words]
    numbers = all(word.isdecimal() for word in stands)
    order = sorted(set(stands), key=lambda word: (int(word) if numbers else 0, word))  # 1 and 01 are two words
    number = {word: place for place, word in enumerate(order)}
    return np.array([number[word] for word in stands], dtype=np.int64), order
