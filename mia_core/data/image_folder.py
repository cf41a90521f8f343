"""Any folder of images, with labels from its sub-folders or from a CSV file."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mia_core.data.images import SUFFIXES, ImageSettings, ImageSource, Listing, below, read_table
from mia_core.data.pool import SOURCES
from mia_core.errors import Refused
from mia_core.paths import expanded
from mia_core.settings import settings


@SOURCES.register
class ImageFolder(ImageSource):
    """Labels and groups are numbered from 0 in the sorted order of their names (numerical if all are numbers)."""

    name = "image_folder"

    @settings
    class Config(ImageSettings):
        """root: searched with all its sub-folders.

        labels: a CSV file in root, with one row per file; null to take the first-level sub-folder as the label.
        file_column: paths relative to root. label_column: any words or numbers. group_column: a person, a patient, ...;
        null without groups. group_folders: first-level sub-folders are the groups.
        """

        root: str
        labels: str | None = None
        file_column: str = "file"
        label_column: str = "label"
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
        others = [file for file in everything if file not in set(images) and file != config.labels]
        notes = (f"{len(others)} files of {root} are no images, e.g. {others[0]}",) if others else ()
        rows, odd = self._rows(root, images)
        if config.group_folders:
            rows, odd = _within(rows, odd)
        files = sorted(rows)
        labels = _numbers(rows[file][0] for file in files)
        grouped = config.group_column or config.group_folders
        groups = _numbers(rows[file][1] for file in files) if grouped else np.arange(len(files))
        return Listing(root, files, labels, groups, odd, notes)

    def _rows(self, root: Path, images: list[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
        """(label, group) by file, and one line for each file that cannot be used."""
        config = self.config
        if config.labels is None:
            folders = {file: file.rpartition("/")[0].partition("/")[0] for file in images}
            if not any(folders.values()):
                return dict.fromkeys(images, ("", "")), []
            rows = {file: (folder, folder) for file, folder in folders.items()}
            return _within(rows, [])
        columns = [config.file_column, config.label_column, *([config.group_column] if config.group_column else [])]
        rows, odd = {}, []
        for row in read_table(root / config.labels, columns):
            file = Path(row[config.file_column]).as_posix()
            group = row[config.group_column] if config.group_column else file.partition("/")[0] if "/" in file else ""
            if rows.setdefault(file, (row[config.label_column], group)) != (row[config.label_column], group):
                raise Refused(f"data.labels: {root / config.labels} has {file} twice, with different values")
        odd += [f"{file}: in {config.labels}, but not there" for file in rows if file not in set(images)]
        odd += [f"{file}: not in {config.labels}" for file in images if file not in rows]
        return {file: rows[file] for file in images if file in rows}, odd


def _within(rows: dict[str, tuple[str, str]], odd: list[str]) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Only files in a sub-folder; the others are added to `odd`."""
    lost = [f"{file}: in no sub-folder" for file, (_, group) in rows.items() if not group]
    return {file: row for file, row in rows.items() if row[1]}, odd + lost


def _numbers(words: Iterable[str]) -> np.ndarray:
    """int64 [N]: the position of each word among the sorted distinct words."""
    words = list(words)
    numbers = all(word.isdecimal() for word in words)
    order = sorted(set(words), key=lambda word: (int(word) if numbers else 0, word))  # 1 and 01 are different words
    number = {word: place for place, word in enumerate(order)}
    return np.array([number[word] for word in words], dtype=np.int64)
