"""Odd values in study files: each in every place, before the commands that read one.

A value is refused in one line that names its place, or taken as it was written: what is taken stands in the resolved
spec as it was given.
"""

import contextlib
import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from study.spec import documents
from tests.commands import mia_study
from tests.hostile.counting import EVERY, TRACEBACK, USELESS, WRONG, Clock, Outcome, Sample, asked, is_bug
from tests.small import SMALL

ABSENT = "absent"
ODD: dict[str, Any] = {
    "null": None, "a word": "x", "no word": "", "control characters": "a\x1b[2J\nb", "a tilde": "~",
    "a variable": "$NO_ONE", "a number": -1, "zero": 0, "a fraction": 0.5, "a huge number": 10**18,
    "a number of 400 digits": 10**400, "the least number": 5e-324, "a number beyond": 1e308, "a superscript": "\u00b2",
    "a null character": "a\0b", "a lone surrogate": "\ud800", "a truth value": True, "a list": [],
    "a list of lists": [[]], "a mapping": {},
    "a mapping of odd values": {"name": []}, "a long list": [1] * 5000, "a long word": "x" * 5000, ABSENT: None,
}  # fmt: skip
WHOLE = {
    **documents.parse(SMALL, "small"),
    "seed": 7,
    "controls": {"blind": True, "nulls": 1, "copycat": True, "member_only": True, "permutations": 999},
    "audit": {"attack": "white_box", "canaries": ["noise"], "count": 20, "trainings": 1},
    "compute": {"gpus_per_trial": "auto", "concurrent": 1, "retries": 3, "checkpoint_seconds": 60.0,
                "usd_per_hour": 1.0, "usd_per_gpu_hour": 1.0},
    "contrasts": ["defense"],
    "keep_targets": "all",
    "results": "results",
    "presets": {"quick": {"replicates": 1}},
    "training": {"batch_size": 16, "learning_rate": 2e-4, "generator_every": 1, "precision": "float32"},
}  # fmt: skip
"""A study that says all that is not a matter of taste."""
READERS = {
    "config": lambda file: mia_study("config")([str(file)]),
    "plan": lambda file: mia_study("sweep")([str(file), "--plan"]),
    "status": lambda file: mia_study("status")([str(file)]),
    "look-alikes": lambda file: mia_study("near-duplicates")([str(file), "--output", "pairs.csv"]),
}
NEVER_RUN = "no study here (study.json is missing)"
SECONDS = 10.0
"""No command may work longer to say no, or to plan."""


def paths(value: Any) -> Iterator[tuple[Any, ...]]:
    """Ways to all values of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (key,)
        yield from ((key, *more) for more in paths(inner))


def changed(path: tuple[Any, ...], value: Any, absent: bool = False) -> dict[str, Any]:
    """The study with another value there."""
    document = place = json.loads(json.dumps(WHOLE))
    for key in path[:-1]:
        place = place[key]
    if absent:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return document


def studies(root: Path, sample: Sample = EVERY) -> Iterator[Outcome]:
    """Each odd value in each place; `config` reads each study, and another command in turn."""
    every = [(kind, path) for path in paths(WHOLE) for kind in ODD]
    others, turn = [name for name in READERS if name != "config"], count()
    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.delenv("NO_ONE", raising=False)
        for _, (kind, path) in sample.of(every):
            file = root / "study.json"
            file.write_text(json.dumps(changed(path, ODD[kind], kind == ABSENT)))
            for reader in ("config", others[next(turn) % len(others)]):
                yield _outcome(kind, path, reader, file)


def _outcome(kind: str, path: tuple[Any, ...], reader: str, file: Path) -> Outcome:
    clock = Clock()
    code, said = asked(lambda: READERS[reader](file))
    fault, case = None, f"{'.'.join(map(str, path))}, {reader}"
    if is_bug(code, said):
        fault = TRACEBACK
    elif clock.over(SECONDS):
        fault = USELESS
    elif reader == "config" and code == 0:
        fault = None if _as_given(json.loads(said), kind, path) else WRONG
    elif code == 2 and not (_helps(said, path) or (reader == "status" and NEVER_RUN in said)):
        fault = USELESS
    return Outcome(f"study: {kind}", case, fault, said)


def _as_given(resolved: dict[str, Any], kind: str, path: tuple[Any, ...]) -> bool:
    """Whether what was taken stands there as it was written; lists and names may stand in a longer form."""
    if kind == ABSENT or path[0] in (
        "factors",
        "attacks",
        "presets",
        "results",
        "tracking",
        "compute",
        "target",
        "contrasts",
    ):
        return True
    given, place = ODD[kind], resolved
    for key in path:
        if not isinstance(place, dict) or key not in place:
            return True
        place = place[key]
    plain = isinstance(given, (int, float, str)) and not isinstance(place, (dict, list))
    same = place == given and (isinstance(place, bool) == isinstance(given, bool))
    return not plain or same or (given is True and path[-1] in ("nulls",) and place == 1)


def _helps(said: str, path: tuple[Any, ...]) -> bool:
    """One line, in which a part of the way to the value stands."""
    lines = [line for line in said.splitlines() if line]
    words = [str(part) for part in path if not isinstance(part, int)]
    words += ["audit.attack"] if path[0] == "attacks" else []  # which an attack's label is
    return (
        len(lines) == 1 and lines[0].isprintable() and len(lines[0]) < 1500 and any(word in lines[0] for word in words)
    )
