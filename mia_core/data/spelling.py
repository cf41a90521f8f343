"""Words that people write in several ways: which spellings are one word, and which may be.

One word are spellings that differ by blanks at their ends or by how many blanks, by marks that are not seen, or by
Unicode form (a letter and its accent as one character or as two): no screen shows the difference. May be one word:
what differs by case, blanks, leading zeros or a decimal `.0` besides.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
DECIMAL = re.compile(r"(?<=\d)\.0+$")


def form(word: str) -> str:
    """The same text for all spellings of one word."""
    seen = "".join(letter for letter in unicodedata.normalize("NFC", word) if unicodedata.category(letter) != "Cf")
    return " ".join(seen.split())


def key(word: str) -> str:
    """The same text for all spellings that may be one word."""
    folded = "".join(unicodedata.normalize("NFKC", form(word)).casefold().split())
    return ZEROS.sub("", DECIMAL.sub("", folded))


def merged(words: Iterable[str]) -> dict[str, str]:
    """For each spelling the one that stands for its word: of several the first in order, so a lone one is kept."""
    stands: dict[str, str] = {}
    found = sorted(set(words))
    for word in found:
        stands.setdefault(form(word), word)
    return {word: stands[form(word)] for word in found}


def alike(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Pairs of words that may be one, in order."""
    first: dict[str, str] = {}
    for word in sorted(set(words)):
        if (other := first.setdefault(key(word), word)) != word:
            yield other, word


def file_form(name: str) -> str:
    """The path of a file as a table has it: of Windows too, in one form."""
    return "/".join(form(part) for part in PurePosixPath(name.replace("\\", "/")).parts if part != "/")


class Names:
    """Files by the names that tables give them. files: paths below a folder; suffixes: of images, with their dots."""

    def __init__(self, files: Iterable[str], suffixes: frozenset[str]) -> None:
        self.suffixes = suffixes
        self._files = set(files)
        self._forms: dict[str, list[str]] = {}
        self._bare: dict[str, list[str]] = {}
        self._near: dict[str, list[str]] = {}
        for file in sorted(self._files):
            self._forms.setdefault(file_form(file), []).append(file)
            self._bare.setdefault(self._without_suffix(file_form(file)), []).append(file)
            self._near.setdefault(self._key(file), []).append(file)

    def find(self, name: str) -> str | None:
        """The file of a name: its path, in any form, or the only one that is its path without the suffix."""
        plain = PurePosixPath(name).as_posix()
        if plain in self._files:
            return plain
        wanted = file_form(name)
        found = self._forms.get(wanted) or self._bare.get(wanted, [])
        return found[0] if len(found) == 1 else None

    def near(self, name: str) -> list[str]:
        """Files that may be meant by a name that is none: by its last part, whatever its case, zeros and suffix."""
        return self._near.get(self._key(name), [])

    def _key(self, name: str) -> str:
        return key(self._without_suffix(file_form(name)).rpartition("/")[2])

    def _without_suffix(self, name: str) -> str:
        stem, dot, suffix = name.rpartition(".")
        return stem if f"{dot}{suffix}".lower() in self.suffixes else name
