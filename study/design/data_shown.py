"""A study's data, as they are read: counts, classes, copies and near-copies by name, what was left out, a picture."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.table import Table

from mia_core.data import Named, Pool, Source, load_named
from mia_core.data.contact_sheet import contact_sheet
from mia_core.data.description import ALIKE_BITS, described, sets_of, sets_of_near_copies
from mia_core.data.images import in_words
from mia_core.data.pool import LEFT_OUT
from mia_core.errors import Refused
from mia_core.settings import Choice
from study.outcomes import COMPLETE, writing
from study.spec.study_file import Spec, read
from study.store import Store
from study.store.outputs import write_output
from study.terminal import Console, say

SHEET = "contact_sheet.png"
CLASSES = 24
"""That are listed: as many as the contact sheet shows."""
MOST_COUNTED = 10_000
"""Images of which a sweep counts near-copies: a second, or some if all are alike."""
OF_A_SET = 5
"""How many records of a set of copies are named."""


def run(config: str, overrides: Sequence[str], preset: str | None, count: int, output: str | None) -> int:
    """Print what the data are, with at most `count` names of a kind, and write the picture; the exit code."""
    spec = read(config, overrides, preset)
    if output and not output.endswith(".png"):
        raise Refused(f"--output {output}: must end in .png")
    named = load_named(_skipping(spec.data))
    _show(Console(), named, bits_of(spec), count)
    if named.left_out:
        try:
            load_named(spec.data)
        except Refused as error:
            say(f"a sweep is refused: {error}")
    path = _write(contact_sheet(named.pool), output, Store(spec.results, spec.study))
    say(f"contact sheet: {path}")
    return COMPLETE


def _skipping(choice: Choice[Source]) -> Choice[Source]:
    """The same data, of which what cannot be used is left out."""
    if not hasattr(choice.config, "on_unreadable"):
        return choice
    skipping = {name: "skip" for name in ("on_unreadable", "on_unmatched") if hasattr(choice.config, name)}
    return replace(choice, config=replace(choice.config, **skipping))


def bits_of(spec: Spec) -> int:
    """By how many bits of their hashes near-copies differ at most: what the split says, else a few."""
    bits: int | None = spec.split.config.near_duplicates
    return ALIKE_BITS if bits is None else bits


def recorded(spec: Spec, pool: Pool) -> dict[str, str]:
    """The words that a store keeps for its report; near-copies of a large pool, which take a while, are not counted."""
    if len(pool) <= MOST_COUNTED:
        return described(pool, bits_of(spec))
    return {**described(pool), "near-copies": f"not counted, of more than {MOST_COUNTED:,} images; mia-study data does"}


def _show(console: Console, named: Named, bits: int, count: int) -> None:
    pool = named.pool
    for key, words in described(pool, bits).items():
        console.wrap(f"{key}: {words}")
    for note in pool.notes:
        if not note.startswith(LEFT_OUT):
            console.wrap(f"note: {note}")
    labels, sizes = np.unique(pool.labels, return_counts=True)
    if len(labels) > 1:
        console.say("", _title("classes", len(labels), CLASSES))
        table = Table("class", "name", "images")
        for label, size in list(zip(labels.tolist(), sizes.tolist(), strict=True))[:CLASSES]:
            name = named.classes[label] if label < len(named.classes) else ""
            table.add_row(str(label), name, f"{size:,}")
        console.print(table)
    _sets(console, "copies, a line a set", sets_of(pool.copies), named, count)
    _sets(console, "near-copies, a line a set", sets_of_near_copies(pool, bits), named, count)
    if named.left_out:
        console.say("", _title("left out", len(named.left_out), count))
        for line in named.left_out[:count]:
            console.say(f"  {line}")
        if len(named.left_out) > count:
            console.say(f"by reason{in_words(named.left_out)}")


def _sets(console: Console, what: str, sets: Sequence[np.ndarray], named: Named, count: int) -> None:
    if sets and count:
        console.say("", _title(what, len(sets), count))
    for records in sets[:count]:
        names = ", ".join(named.records[record] for record in records[:OF_A_SET])
        more = f", and {len(records) - OF_A_SET} more" if len(records) > OF_A_SET else ""
        console.say(f"  {names}{more}")


def _title(what: str, there: int, shown: int) -> str:
    return f"{what} (the first {shown} of {there:,}):" if there > shown else f"{what}:"


def _write(picture: bytes, output: str | None, store: Store) -> Path:
    """Where it is now."""
    with writing(Path(output or store.reports)):
        if not output:
            return store.save_report(SHEET, picture)
        write_output(Path(output), picture)
    return Path(output)
