"""Labeled Faces in the Wild (Huang et al. 2007): 13,233 photographs of 5,749 people, 250 x 250 pixels.

Read in the layout of the archives, of torchvision and of scikit-learn: `lfw/<Person>/<Person>_0001.jpg`.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from mia_core.data.images import ImageSettings, ImageSource, Listing, below
from mia_core.data.pool import SOURCES
from mia_core.errors import Refused
from mia_core.paths import expanded
from mia_core.settings import settings

FOLDERS = {"original": "lfw", "funneled": "lfw_funneled", "deepfunneled": "lfw-deepfunneled"}
PARENTS = ("", "lfw-py", "lfw_home")
"""Parent folders that torchvision and scikit-learn use."""

ARCHIVES = {
    "original": (
        "https://ndownloader.figshare.com/files/5976018",
        "sha256:055f7d9c632d7370e6fb4afc7468d40f970c34a80d4c6f50ffec63f5a8d536c0",
    ),
    "funneled": (
        "https://ndownloader.figshare.com/files/5976015",
        "sha256:b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
    ),
}
"""scikit-learn's copies: the data set's server is gone, and torchvision no longer downloads it."""
PAGE = "https://www.kaggle.com/datasets/jessicali9530/lfw-dataset"


@SOURCES.register
class Lfw(ImageSource):
    """Groups and labels are identities: the selected ones, numbered in alphabetical order."""

    name = "lfw"

    @settings
    class Config(ImageSettings):
        """identities: those with most photographs (LOGAN: 10), ties in alphabetical order; null for all.

        alignment: `original`, `funneled` or `deepfunneled` photographs. root: a folder of people, or the parent of the
        alignment's folder. download: download into root (`original` and `funneled` only).
        """

        identities: Annotated[int, Ge(1)] | None = None
        alignment: Literal["original", "funneled", "deepfunneled"] = "funneled"
        download: bool = False

    config: Config

    def listing(self) -> Listing:
        """Every photograph of the selected identities. Refused if there are fewer identities."""
        folder = self._folder()
        people: dict[str, list[str]] = {}
        odd: dict[str, list[str]] = {}
        for file in below(folder):
            person, _, name = file.partition("/")
            if re.fullmatch(rf"{re.escape(person)}_\d{{4}}\.jpg", name):
                people.setdefault(person, []).append(file)
            elif name:
                odd.setdefault(person, []).append(f"{file}: not named like {person}_0001.jpg")
        chosen = sorted(people, key=lambda person: (-len(people[person]), person))[: self.config.identities]
        if len(chosen) < (self.config.identities or 1):
            raise Refused(f"data.identities: {folder} has {len(people)} identities, not {self.config.identities}")
        for person in chosen:
            last = int(people[person][-1][-8:-4])
            numbered = [f"{person}/{person}_{number:04d}.jpg" for number in range(1, last + 1)]
            odd.setdefault(person, []).extend(f"{file}: missing" for file in numbered if file not in people[person])
        pairs = [(number, file) for number, person in enumerate(sorted(chosen)) for file in people[person]]
        labels = np.array([number for number, _ in pairs], dtype=np.int64)
        which = chosen if self.config.identities else sorted(odd)
        lines = [line for person in which for line in odd[person]]
        return Listing(folder, [file for _, file in pairs], labels, labels.copy(), lines, classes=sorted(chosen))

    def _folder(self) -> Path:
        root, alignment = expanded(self.config.root), self.config.alignment
        found = _places(root)
        if self.config.download and alignment not in found and "root" not in found:
            from mia_core.data.download import fetch_archive

            if alignment not in ARCHIVES:
                raise Refused(f"data.download: {alignment} faces cannot be downloaded; get them from {PAGE}")
            url, digest = ARCHIVES[alignment]
            fetch_archive(url, root / "lfw_home", digest)
            found = _places(root)
        if "root" in found or alignment in found:
            return found.get(alignment) or found["root"]
        if found:
            raise Refused(f"data.alignment: {root} has no {alignment} faces; it has {', '.join(sorted(found))}")
        raise Refused(
            f"data: Labeled Faces in the Wild is not in {root} (people, or {FOLDERS[alignment]}/, lfw_home/, lfw-py/); "
            f"get it with data.download=true, or from {PAGE} and name its folder by data.root"
        )


def _places(root: Path) -> dict[str, Path]:
    """Folders of people at or below root, by alignment; key `root` is root itself."""
    candidates = {"root": [root]}
    for alignment, name in FOLDERS.items():
        candidates[alignment] = [root / parent / place for parent in PARENTS for place in (name, f"{name}/{name}")]
    found = {key: next(filter(_has_people, places), None) for key, places in candidates.items()}
    return {key: folder for key, folder in found.items() if folder}


def _has_people(folder: Path) -> bool:
    return folder.is_dir() and any(
        next(person.glob(f"{person.name}_*.jpg"), None) for person in folder.iterdir() if person.is_dir()
    )
