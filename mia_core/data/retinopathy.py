"""Diabetic Retinopathy Detection (Kaggle 2015): 88,702 photographs of retinas, both eyes of each patient.

35,126 in `train`, graded in trainLabels.csv; 53,576 in `test`, graded in retinopathy_solution.csv. Files are
`<patient>_left.jpeg` and `<patient>_right.jpeg`; the columns are image and level: 0 none, 1 mild, 2 moderate, 3 severe,
4 proliferative.
"""

import re
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le, MinLen
from pydantic import Strict

from mia_core.data.images import ImageSettings, ImageSource, Listing
from mia_core.data.label_table import read_table
from mia_core.data.pool import SOURCES
from mia_core.data.spelling import alike, form, key
from mia_core.errors import Refused
from mia_core.paths import expanded
from mia_core.settings import settings

PAGE = "https://www.kaggle.com/c/diabetic-retinopathy-detection/data"
FOLDERS = (".", "train", "test")
EYE = re.compile(r"(.+)_(left|right)\.jpe?g")
Grade = Annotated[int, Ge(0), Le(4)]


@SOURCES.register
class Retinopathy(ImageSource):
    """Groups are patients, so a split keeps both eyes together. Labels are grades."""

    name = "retinopathy"

    @settings
    class Config(ImageSettings):
        """labels: CSV files in root. grades: the grades to use (LOGAN: 2, 3, 4).

        Images are searched in root, root/train and root/test.
        """

        root: str = "data/retinopathy"
        labels: Annotated[tuple[str, ...], MinLen(1), Strict(False)] = ("trainLabels.csv",)
        grades: Annotated[tuple[Grade, ...], MinLen(1), Strict(False)] = (0, 1, 2, 3, 4)

    config: Config

    def listing(self) -> Listing:
        """Every photograph with a selected grade. Refused without a label file, or for invalid or conflicting rows."""
        root = expanded(self.config.root)
        if not any((root / name).is_file() for name in self.config.labels):
            raise Refused(
                f"data: {root / self.config.labels[0]} is missing; get it and the images from {PAGE} (an account there "
                "is needed), unpack them, and name the folder by data.root"
            )
        grades, notes = self._grades(root)
        images, odd = _images(root)
        tables = ", ".join(self.config.labels)
        unmatched = [f"{file}: not in {tables}" for eye, file in images.items() if eye not in grades]
        wanted = {eye: grade for eye, grade in grades.items() if grade in self.config.grades}
        near = {key(eye): file for eye, file in images.items() if eye not in grades}
        for eye in (eye for eye in wanted if eye not in images):
            unmatched.append(
                f"{eye}: graded, but not there{f'; is {near[key(eye)]} meant' if key(eye) in near else ''}"
            )
        eyes = sorted(set(wanted) & set(images))
        patients = [eye.rpartition("_")[0] for eye in eyes]
        for one, other in alike(patients):
            raise Refused(
                f"data: the patients {one} and {other} differ by spelling alone; name their files alike, or apart"
            )
        return Listing(
            root,
            [images[eye] for eye in eyes],
            np.array([wanted[eye] for eye in eyes], dtype=np.int64),
            np.unique(patients, return_inverse=True)[1].astype(np.int64),
            odd,
            notes,
            [f"grade {grade}" for grade in range(5)],
            unmatched=unmatched,
        )

    def _grades(self, root: Path) -> tuple[dict[str, int], tuple[str, ...]]:
        """By `<patient>_<eye>`; and what is to be said of the tables."""
        grades: dict[str, int] = {}
        notes: tuple[str, ...] = ()
        for name in self.config.labels:
            table = read_table(root / name, ("image", "level"))
            notes += table.notes
            for number, row in zip(table.numbers, table.rows, strict=True):
                image, level = form(row["image"]), row["level"].strip()
                if level not in "01234" or len(level) != 1:
                    raise Refused(f"data.labels: {root / name}, row {number}: level {level!r} is not 0 to 4")
                if grades.setdefault(image, int(level)) != int(level):
                    raise Refused(f"data.labels: {root / name}, row {number}: {image} has two grades")
        return grades, notes


def _images(root: Path) -> tuple[dict[str, str], list[str]]:
    """Files by `<patient>_<eye>`, and one line for each file that cannot be used."""
    images: dict[str, str] = {}
    odd = []
    for folder in FOLDERS:
        for path in sorted((root / folder).glob("[!.]*")):
            file = path.relative_to(root).as_posix()
            if not path.is_file() or path.suffix.lower() not in (".jpeg", ".jpg"):
                continue
            if not EYE.fullmatch(path.name):
                odd.append(f"{file}: not named like 10_left.jpeg")
            elif images.setdefault(path.stem, file) != file:
                odd.append(f"{file}: the same eye as {images[path.stem]}")
    return images, odd
