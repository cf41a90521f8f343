"""Who is on which image of the folders that a user names for a release: a CSV file of file names and persons."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mia_core.data.decoding import SUFFIXES
from mia_core.data.given_records import MEMBER, NON_MEMBER, PARTS
from mia_core.data.label_table import read_table
from mia_core.data.spelling import Names, alike, file_form, merged
from mia_core.errors import Refused


def read_persons(
    table: Path, file_column: str, person_column: str, folders: Mapping[str, tuple[str, Sequence[str]]]
) -> tuple[dict[str, list[str | None]], list[str]]:
    """The person of each file, by part, None where the table has none; and notes, a line each.

    folders: by part, the name of its folder and the files below it, also those that cannot be read. A row names a file
    by its path below a folder, with the folder's or the part's name before it where several folders have such a file.
    Refused for rows that name no file or several, for a file with two persons, and for persons that differ by spelling
    alone.
    """
    settings = {file_column: "data.file_column", person_column: "data.person_column"}
    found = read_table(table, (file_column, person_column), "split.groups", settings)
    places = {part: {name: number for number, name in enumerate(files)} for part, (_, files) in folders.items()}
    names = {part: Names(files, SUFFIXES) for part, (_, files) in folders.items()}
    persons: dict[str, list[str | None]] = {part: [None] * len(files) for part, (_, files) in folders.items()}
    one = merged(row[person_column] for row in found.rows)
    pairs = list(alike(one.values()))
    if pairs:
        raise Refused(
            f"split.groups: {table} has the persons {pairs[0][0]!r} and {pairs[0][1]!r}, which differ by spelling "
            "alone; one person must not be two: write them alike, or, if they are two, so that they differ by more"
        )
    nowhere: list[str] = []
    for row, number in zip(found.rows, found.numbers, strict=True):
        written, where = row[file_column], f"split.groups: {table}, row {number}"
        matches = {(part, file) for part in folders if (file := names[part].find(written))}
        first, _, rest = file_form(written).partition("/")
        if rest:
            matches |= {
                (part, file)
                for part, (folder, _) in folders.items()
                if first in (part, folder) and (file := names[part].find(rest))
            }
        if not matches:
            nowhere.append(f"{written!r} in row {number}")
            continue
        if len(matches) > 1:
            parts = " and ".join(sorted(part for part, _ in matches))
            raise Refused(f"{where}: {written!r} is in {parts}; write the folder's name before it")
        ((part, file),) = matches
        person, place = one[row[person_column]], places[part][file]
        if persons[part][place] not in (None, person):
            raise Refused(f"{where}: {written!r} has two persons; leave one of the rows out")
        persons[part][place] = person
    if nowhere:
        raise Refused(
            f"split.groups: {table} names {len(nowhere)} files of {len(found.rows)} that are in none of the folders, "
            f"first {nowhere[0]}; leave these rows out, or name the files as they are below a folder"
        )
    without = sum(person is None for part in persons.values() for person in part)
    notes = [f"{without} images have no person in the table of persons, and count as one each"] if without else []
    return persons, [*found.notes, *notes]


def shared_persons(part: np.ndarray, persons: Sequence[str | None]) -> dict[int, int]:
    """Records that share a person with a part before theirs (members, non-members, reference), and one of that part's.

    part: int64 [N].
    """
    first: dict[str, dict[int, int]] = {}
    for number, person in enumerate(persons):
        if person is not None:
            first.setdefault(person, {}).setdefault(int(part[number]), number)
    found = {}
    for number, person in enumerate(persons):
        if person is not None:
            before = [first[person][other] for other in range(int(part[number])) if other in first[person]]
            if before:
                found[number] = before[0]
    return found


def require_apart(part: np.ndarray, persons: Sequence[str | None], found: Mapping[int, int]) -> None:
    """Refused for a person among members and non-members. found: of `shared_persons`."""
    sides = [number for number in found if part[number] == NON_MEMBER and part[found[number]] == MEMBER]
    count = len({persons[number] for number in sides})
    if count:
        raise Refused(
            f"split.groups: {count} persons are among {PARTS[MEMBER]} and {PARTS[NON_MEMBER]}, and nobody can say "
            f"whether such a person was trained on; move their {len(sides)} images of {PARTS[NON_MEMBER]}, or leave "
            "these out with data.shared_persons=leave_out"
        )
