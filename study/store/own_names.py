"""Names that this project gives to a study's files, which distinguish them from copies that other programs make.

Programs that keep folders alike put a copy beside a file that both sides changed: `x (1).json`, `x-conflict-1.json`,
`x (laptop's conflicted copy).json`. No reader takes such a copy for a file of the study.
"""

import re
from collections.abc import Iterable, Iterator

from study.store.places import Place
from study.store.schema import PASS_TABLES

TRAINING = "training"
"""In place of the hash of its work in the name of a pass that trained: a trial has one such marker."""

ID = "[0-9a-f]+"
TABLES = "|".join(PASS_TABLES)
OWN = {
    folder: re.compile(pattern, re.ASCII)
    for folder, pattern in {
        "done": rf"\w+-({ID}|{TRAINING})\.json",
        "specs": r"\w+\.json",
        "design": r"\w+\.parquet",
        "features": r"\w+\.(json|safetensors)",
        "failures": r"\w+\.json",
        "compacted": rf"{ID}\.json|({TABLES}|markers)-{ID}\.parquet",
        "checkpoints": rf"\d+-{ID}\.safetensors",
    }.items()
}
"""By folder; what lies in a folder of one trajectory goes by `checkpoints`."""


def own(folder: str, names: Iterable[str]) -> list[str]:
    """Those of some names in a folder that are files of the study, in their order."""
    pattern = OWN[folder.partition("/")[0]]
    return [name for name in names if pattern.fullmatch(name)]


def strays(place: Place) -> Iterator[str]:
    """Files that lie among those of a study and are none, temporary ones aside; below the study's folder."""
    for folder, pattern in OWN.items():
        if folder != "checkpoints":
            yield from (f"{folder}/{name}" for name in place.names(folder) if not pattern.fullmatch(name))
